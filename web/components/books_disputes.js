// @ts-check
/** Disputes: all of them, how they stand at Razorpay and what their money does here. */

import { useData } from "../core/data.js";
import { money, paise, shortId, time } from "../core/format.js";
import { html } from "../core/html.js";
import { query, setQuery } from "../core/router.js";
import { named, t } from "../core/texts.js";
import { Chips } from "./field.js";
import { Empty, Shown, Tag } from "./states.js";
import { Pages, Table } from "./table.js";

const STATES = ["reserved", "debited", "refunded", "released", "ignored"];
/** @type {Record<string, string>} */
const COLOURS = { reserved: "warn", debited: "bad", released: "ok" };

const waits = (/** @type {any} */ row) => row.state === "reserved" || row.unclear;

export function Disputes() {
  const state = query.value.get("state") ?? "";
  const found = useData("/api/admin/disputes", { state, limit: 50, cursor: query.value.get("cursor") });
  const columns = [
    { title: t("books.disputes.dispute"), show: (/** @type {any} */ row) => html`${waits(row) ? html`<a class="mono xs" href=${`/admin/review?kind=dispute&item=dispute:${row.dispute_id}`}>${row.dispute_id}</a>` : html`<span class="mono xs">${row.dispute_id}</span>`}<span class="sub">${named("review.dispute.phases", row.phase)} · ${row.reason_code.replaceAll("_", " ")}</span>` },
    { title: t("books.disputes.status"), show: (/** @type {any} */ row) => named("review.dispute.statuses", row.status) },
    { title: t("books.disputes.money"), show: (/** @type {any} */ row) => html`<${Tag} kind=${COLOURS[row.state] ?? ""}>${named("review.dispute.states", row.state)}<//>` },
    { title: t("review.dispute.amount"), isNumber: true, show: (/** @type {any} */ row) => money(paise(row.amount)) },
    { title: t("review.dispute.taken"), isNumber: true, isMinor: true, show: (/** @type {any} */ row) => money(paise(row.taken)) },
    { title: t("review.dispute.respond_by"), isMinor: true, show: (/** @type {any} */ row) => (row.state === "reserved" ? time(row.respond_by) : "—") },
    { title: t("review.user"), isMinor: true, show: (/** @type {any} */ row) => html`<a class="mono xs" href=${`/admin/users/${encodeURIComponent(row.user_id)}`}>${shortId(row.user_id)}</a>` },
    { title: t("review.payment.payment"), isMinor: true, show: (/** @type {any} */ row) => html`<a class="mono xs" href=${`/payments/${encodeURIComponent(row.order_id)}`}>${shortId(row.payment_id)}</a>` },
  ];
  const options = ["", ...STATES].map((name) => [name, name ? named("review.dispute.states", name) : t("actions.all")]);
  return html`<section class="card"><header><${Chips} label=${t("books.disputes.money")} value=${state} options=${options} onChoose=${(/** @type {string} */ name) => setQuery({ state: name, cursor: null })} /></header>
    <${Shown} of=${found}>${(/** @type {any} */ list) => list.disputes.length ? html`<${Table} caption=${t("books.parts.disputes")} columns=${columns} rows=${list.disputes} id=${(/** @type {any} */ row) => row.dispute_id} /><${Pages} next=${list.next_cursor} />` : html`<${Empty} icon="scale" title=${t(state ? "books.disputes.none_of_state" : "books.disputes.none")} />`}<//></section>`;
}
