// @ts-check
/** The latest five of what belongs to one user, each with the way to all of them. */

import { useData } from "../core/data.js";
import { count, phone, shortId, shownRupees, time } from "../core/format.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { Empty, Shown, Tag } from "./states.js";
import { Table } from "./table.js";

const SHOWN = 5;

/** @type {Record<string, {path: string, rows: string, all: (id: string) => string, live?: string[], id: string, columns: () => any[]}>} */
const KINDS = {
  transactions: {
    path: "/api/transactions", rows: "transactions", id: "id", live: ["balance"], all: (id) => `/transactions?user_id=${id}`,
    columns: () => [
      { title: t("users.latest.what"), show: (/** @type {any} */ row) => html`<a href=${`/transactions/${row.id}`}>${named("users.categories", row.category)}</a><span class="sub">${time(row.created_at)}</span>` },
      { title: t("users.latest.amount"), isNumber: true, show: (/** @type {any} */ row) => html`<span class=${row.type}>${shownRupees(row.type === "debit" ? -row.amount : row.amount, { sign: true })}</span>` },
      { title: t("users.latest.after"), isNumber: true, isMinor: true, show: (/** @type {any} */ row) => shownRupees(row.balance_after) },
    ],
  },
  calls: {
    path: "/api/calls", rows: "calls", id: "call_id", live: ["call"], all: (id) => `/calls?user_id=${id}`,
    columns: () => [
      { title: t("users.latest.call"), show: (/** @type {any} */ row) => html`<a class="num" href=${`/calls/${row.call_id}`}>${phone(row.to)}</a><span class="sub">${time(row.created_at)}</span>` },
      { title: t("users.state"), show: (/** @type {any} */ row) => named("users.call_states", row.status) },
      { title: t("users.latest.cost"), isNumber: true, show: (/** @type {any} */ row) => shownRupees(row.cost) },
    ],
  },
  campaigns: {
    path: "/api/campaigns", rows: "campaigns", id: "campaign_id", live: ["campaign"], all: (id) => `/campaigns?user_id=${id}`,
    columns: () => [
      { title: t("users.latest.campaign"), show: (/** @type {any} */ row) => html`<a href=${`/campaigns/${row.campaign_id}`}><bdi>${row.name}</bdi></a><span class="sub">${time(row.created_at)}</span>` },
      { title: t("users.state"), show: (/** @type {any} */ row) => html`<${Tag} kind=${row.status === "running" ? "live" : row.status === "completed" ? "ok" : ""}>${named("users.campaign_states", row.status)}<//>` },
    ],
  },
  orders: {
    path: "/api/payment/orders", rows: "orders", id: "order_id", live: ["balance"], all: (id) => `/payments?user_id=${id}`,
    columns: () => [
      { title: t("users.latest.order"), show: (/** @type {any} */ row) => html`<a class="mono" href=${`/payments/${row.order_id}`}>${shortId(row.order_id)}</a><span class="sub">${time(row.created_at)}</span>` },
      { title: t("users.state"), show: (/** @type {any} */ row) => html`<${Tag} kind=${row.status === "paid" ? "ok" : ""}>${named("users.order_states", row.status)}<//>` },
      { title: t("users.latest.amount"), isNumber: true, show: (/** @type {any} */ row) => shownRupees(row.amount) },
    ],
  },
  complaints: {
    path: "/api/complaints", rows: "complaints", id: "complaint_id", all: (id) => `/admin/complaints?user_id=${id}`,
    columns: () => [
      { title: t("users.latest.complaint"), show: (/** @type {any} */ row) => html`<a class="num" href=${`/admin/complaints?user_id=${row.user_id}&complaint=${row.complaint_id}`}>${phone(row.number)}</a><span class="sub">${time(row.received_at)}</span>` },
      { title: t("users.latest.source"), show: (/** @type {any} */ row) => html`<bdi>${row.source}</bdi>` },
    ],
  },
};

/** @param {{kind: string, userId: string, total?: number | undefined}} props */
export function Latest({ kind, userId, total }) {
  const what = /** @type {(typeof KINDS)[string]} */ (KINDS[kind]);
  const of = useData(what.path, { user_id: userId, limit: SHOWN }, { live: what.live ?? [], matches: (told) => told.user_id === userId });
  const shownTotal = total === undefined ? "" : total >= 10_000 ? ` (${count(10_000)}+)` : ` (${count(total)})`;
  return html`<section class="card"><header><h2>${t(`users.latest.${kind}`)}</h2>
      <a class="small" href=${what.all(encodeURIComponent(userId))}>${t("actions.all")}${shownTotal}</a></header>
    <${Shown} of=${of}>${(/** @type {any} */ found) => found[what.rows].length
      ? html`<${Table} caption=${t(`users.latest.${kind}`)} columns=${what.columns()} rows=${found[what.rows].slice(0, SHOWN)} id=${(/** @type {any} */ row) => row[what.id]} />`
      : html`<${Empty} title=${t(`users.latest.no_${kind}`)} />`}<//></section>`;
}
