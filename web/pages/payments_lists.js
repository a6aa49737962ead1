// @ts-check
/** The lists of payments: orders, refunds, disputes, newest first. */

import { recharge } from "../components/recharge.js";
import { Empty, Shown } from "../components/states.js";
import { Pages, Table } from "../components/table.js";
import { useData } from "../core/data.js";
import { money, paise, shortId, time } from "../core/format.js";
import { html } from "../core/html.js";
import { query } from "../core/router.js";
import { isStaff, me } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { canBePaid, OrderTag, stateOf, StateTag } from "./payments_states.js";

const EVERY_MS = 10_000;
const isOwn = (/** @type {any} */ told) => told.user_id === me.value?.id;
const whenColumn = () => ({ title: t("transactions.time"), show: (/** @type {any} */ row) => html`<time class="num" datetime=${row.created_at}>${time(row.created_at)}</time>` });
const orderLink = (/** @type {any} */ row, /** @type {string} */ of) => `/payments/${encodeURIComponent(row.order_id)}?of=${encodeURIComponent(of)}`;

/** @param {{rows: any[]}} props */
function OrdersTable({ rows }) {
  const columns = [
    whenColumn(),
    { title: t("payments.what_happened"), show: (/** @type {any} */ row) => html`<a class="quiet-link" href=${`/payments/${encodeURIComponent(row.order_id)}`}><${OrderTag} order=${row} /> <span class="mono xs" title=${row.order_id}>${shortId(row.order_id)}</span></a><span class="sub"><bdi class="clamp">${row.message}</bdi></span>` },
    { title: t("transactions.amount"), isNumber: true, show: (/** @type {any} */ row) => money(paise(row.amount)) },
    { title: t("payments.method_title"), isMinor: true, show: (/** @type {any} */ row) => html`<span class="nowrap">${row.payments.length ? named("payments.method", row.payments.at(-1).method) : "—"}</span>` },
    ...(isStaff.value
      ? [{ title: t("transactions.user_short"), isMinor: true, show: (/** @type {any} */ row) => html`<a class="quiet-link" href=${`/admin/users/${encodeURIComponent(row.user_id)}`}><bdi class="clamp who">${row.user_email ?? shortId(row.user_id)}</bdi></a>` }]
      : [{ title: t("account.action"), isMinor: true, show: (/** @type {any} */ row) => canBePaid(row) && stateOf(row)[0] !== "pending" ? html`<a class="btn" href=${`/pay/${encodeURIComponent(row.order_id)}`} target="wallet-pay" aria-label=${t("payments.pay_order", { amount: money(paise(row.amount)), id: row.order_id })}>${t("payments.pay_now")}</a>` : null }]),
  ];
  return html`<${Table} caption=${t("payments.orders")} columns=${columns} rows=${rows} id=${(/** @type {any} */ row) => row.order_id} />`;
}

/** @param {{user_id: string | null}} props */
export function Orders({ user_id }) {
  const cursor = query.value.get("cursor");
  const options = isStaff.value ? { every_ms: cursor ? 0 : EVERY_MS } : { live: ["balance"], matches: isOwn };
  const of = useData("/api/payment/orders", { user_id: isStaff.value ? user_id : null, cursor, limit: 25 }, options);
  return html`<section class="card"><${Shown} of=${of} lines=${8}>${(/** @type {any} */ page) => html`${page.orders.length
      ? html`<${OrdersTable} rows=${page.orders} />`
      : html`<${Empty} icon="card" title=${t("payments.none")}><span class="small">${t(isStaff.value ? "payments.none_hint_staff" : "payments.none_hint")}</span>
        ${isStaff.value ? null : html`<button class="btn" type="button" onClick=${() => void recharge()}>${t("actions.recharge")}</button>`}<//>`}
    <${Pages} next=${page.next_cursor} />`}<//></section>`;
}

export function Refunds() {
  const of = useData("/api/payment/refunds", { cursor: query.value.get("cursor"), limit: 25 }, isStaff.value ? { every_ms: EVERY_MS } : { live: ["balance"], matches: isOwn });
  const columns = [
    whenColumn(),
    { title: t("payments.what_happened"), show: (/** @type {any} */ row) => html`<a class="quiet-link" href=${orderLink(row, row.refund_id)}><${StateTag} group="refund_state" value=${row.status} /> <span class="mono xs" title=${row.refund_id}>${shortId(row.razorpay_refund_id ?? row.refund_id)}</span></a><span class="sub"><bdi class="clamp">${row.message}</bdi></span>` },
    { title: t("transactions.amount"), isNumber: true, show: (/** @type {any} */ row) => money(paise(row.amount)) },
    { title: t("payments.why"), isMinor: true, show: (/** @type {any} */ row) => html`<bdi class="clamp">${row.reason ?? (row.requested_by ? "—" : t("payments.at_razorpay"))}</bdi>` },
    { title: t("transactions.of_payment"), isMinor: true, show: (/** @type {any} */ row) => html`<span class="mono xs" title=${row.payment_id}>${shortId(row.payment_id)}</span>` },
  ];
  return html`<section class="card"><${Shown} of=${of} lines=${6}>${(/** @type {any} */ page) => html`${page.refunds.length
      ? html`<${Table} caption=${t("payments.refunds")} columns=${columns} rows=${page.refunds} id=${(/** @type {any} */ row) => row.refund_id} />`
      : html`<${Empty} icon="card" title=${t("payments.no_refunds")}><span class="small">${t(isStaff.value ? "payments.no_refunds_hint_staff" : "payments.no_refunds_hint")}</span><//>`}
    <${Pages} next=${page.next_cursor} />`}<//></section>`;
}

export function Disputes() {
  const of = useData("/api/payment/disputes", { cursor: query.value.get("cursor"), limit: 25 }, isStaff.value ? { every_ms: EVERY_MS } : { live: ["balance"], matches: isOwn });
  const columns = [
    whenColumn(),
    { title: t("payments.what_happened"), show: (/** @type {any} */ row) => html`<a class="quiet-link" href=${orderLink(row, row.dispute_id)}><${StateTag} group="dispute_state" value=${row.state} /> <span class="mono xs" title=${row.dispute_id}>${shortId(row.dispute_id)}</span></a><span class="sub"><bdi class="clamp">${row.message || named("payments.dispute_about", row.state)}</bdi></span>` },
    { title: t("transactions.amount"), isNumber: true, show: (/** @type {any} */ row) => money(paise(row.amount)) },
    { title: t("payments.why"), isMinor: true, show: (/** @type {any} */ row) => named("payments.dispute_reason", row.reason_code) },
    { title: t("payments.respond_by"), isMinor: true, show: (/** @type {any} */ row) => time(row.respond_by) },
  ];
  return html`<section class="card"><${Shown} of=${of} lines=${6}>${(/** @type {any} */ page) => html`${page.disputes.length
      ? html`<${Table} caption=${t("payments.disputes")} columns=${columns} rows=${page.disputes} id=${(/** @type {any} */ row) => row.dispute_id} />`
      : html`<${Empty} icon="check" title=${t("payments.no_disputes")}><span class="small">${t("payments.no_disputes_hint")}</span><//>`}
    <${Pages} next=${page.next_cursor} />`}<//></section>`;
}
