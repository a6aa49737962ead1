// @ts-check
/** The list of what waits: its kinds with their counts, and its rows, the oldest first. */

import { html } from "../core/html.js";
import { count, money, paise, phone, shortId, time } from "../core/format.js";
import { query, setQuery } from "../core/router.js";
import { named, t } from "../core/texts.js";
import { Chips } from "./field.js";
import { Tag } from "./states.js";
import { Table } from "./table.js";
import { sumOf } from "./review_count.js";

export const KINDS = ["payment", "call", "refund", "dispute", "webhook", "audit", "reconciliation", "adjustment", "complaint"];
/** @type {Record<string, string>} */
const COLOURS = { payment: "bad", webhook: "bad", audit: "bad", reconciliation: "bad", complaint: "bad" };

/** How an item is named in the URL. */
export const keyOf = (/** @type {any} */ item) => `${item.kind}:${item.id}`;

/** What waits, in words. */
export function titleOf(/** @type {any} */ item) {
  if (item.kind === "webhook") return t("review.titles.webhook");
  if (item.kind === "audit") return named("review.invariants", item.reason);
  if (item.kind === "adjustment") return t(`review.titles.adjustment.${item.reason}`, { amount: money(paise(item.amount)) });
  return named(`review.titles.${item.kind}`, item.reason);
}

/** Whose it is and about how much, in a line. */
export function lineOf(/** @type {any} */ item) {
  const amount = money(paise(item.amount));
  /** @type {Record<string, () => any[]>} */
  const lines = {
    payment: () => [t("review.line.paid", { paid: amount, ordered: money(paise(item.facts.ordered)) })],
    call: () => [phone(item.facts.to), item.reason === "money_held" ? t("review.line.reserved", { amount }) : null],
    refund: () => [amount, shortId(item.id)],
    dispute: () => [t("review.line.disputed", { amount }), item.due_at && item.decisions.length === 0 ? t("review.line.due", { when: time(item.due_at) }) : null],
    webhook: () => [item.facts.event, item.detail],
    audit: () => [item.detail],
    reconciliation: () => [item.facts.payment_id ?? item.facts.order_id ?? item.facts.entity_id ?? item.detail],
    adjustment: () => [item.detail],
    complaint: () => [t("review.line.complaints", { number: count(item.facts.complaints) })],
  };
  return [item.user_name, ...(lines[item.kind]?.() ?? [item.detail])].filter(Boolean);
}

/** How long it waits: '2 d', '5 h', '12 min'. */
export function age(/** @type {string} */ since) {
  const minutes = Math.max(0, Math.floor((Date.now() - Date.parse(since)) / 60_000));
  if (minutes < 60) return t("review.age.minutes", { count: minutes });
  if (minutes < 48 * 60) return t("review.age.hours", { count: Math.floor(minutes / 60) });
  return t("review.age.days", { count: Math.floor(minutes / 1440) });
}

/** @param {{found: any}} props */
export function ReviewKinds({ found }) {
  const total = sumOf(found);
  const shown = (/** @type {number | null} */ value) => (value === null ? "?" : value >= found.counted_max ? `${count(value)}+` : count(value));
  const chosen = query.value.get("kind") ?? "";
  const options = KINDS.filter((kind) => found.counts[kind] !== 0 || kind === chosen).map((kind) => [kind, `${t(`review.kinds.${kind}`)} ${shown(found.counts[kind] ?? null)}`]);
  return html`<${Chips} label=${t("review.kind")} value=${chosen} options=${[["", `${t("actions.all")} ${total ? `${count(total.sum)}${total.isMore ? "+" : ""}` : "?"}`], ...options]}
    onChoose=${(/** @type {string} */ kind) => setQuery({ kind, item: null, cursor: null })} />`;
}

/** @param {{items: any[], chosen: string | null}} props */
export function ReviewRows({ items, chosen }) {
  const address = (/** @type {any} */ item) => {
    const given = new URLSearchParams(query.value);
    given.set("item", keyOf(item));
    return `/admin/review?${given}`;
  };
  const columns = [
    { title: t("review.kind"), show: (/** @type {any} */ item) => html`<${Tag} kind=${COLOURS[item.kind] ?? "warn"}>${t(`review.kind_of.${item.kind}`)}<//>` },
    { title: t("review.what"), show: (/** @type {any} */ item) => html`<a class="row-link" href=${address(item)} aria-current=${keyOf(item) === chosen ? "true" : undefined}>${titleOf(item)}</a><span class="sub">${lineOf(item).map((part, i) => html`${i ? " · " : ""}<bdi>${part}</bdi>`)}</span>` },
    { title: t("review.waits"), isNumber: true, show: (/** @type {any} */ item) => html`<span class="small muted" title=${time(item.since)}>${age(item.since)}</span>` },
  ];
  return html`<${Table} caption=${t("review.caption")} columns=${columns} rows=${items} id=${keyOf} isOn=${(/** @type {any} */ item) => keyOf(item) === chosen} />`;
}
