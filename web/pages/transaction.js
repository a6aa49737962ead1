// @ts-check
/** One movement of money: the balance before and after it, and everything that it belongs to. */

import { Copy } from "../components/copy.js";
import { Money } from "../components/money.js";
import { Page } from "../components/shell.js";
import { explain, Shown, Tag } from "../components/states.js";
import { Facts } from "../components/table.js";
import { useData } from "../core/data.js";
import { count, duration, money, paise, phone, shortId, time } from "../core/format.js";
import { html } from "../core/html.js";
import { isStaff } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { moved_paise } from "./transactions.js";

/** Balance before ± amount = balance after. @param {{row: any}} props */
function Sum({ row }) {
  const after_paise = paise(row.balance_after);
  const before_paise = after_paise === null ? null : after_paise - moved_paise(row);
  return html`<dl class="parts sum">
    <div><dt>${t("transactions.before")}</dt><dd class="money">${money(before_paise)}</dd></div>
    <div class="operator" aria-hidden="true"><dt></dt><dd>${row.type === "debit" ? "−" : "+"}</dd></div>
    <div><dt>${t(row.type === "debit" ? "transactions.debited" : "transactions.credited")}</dt><dd class="money">${money(paise(row.amount))}</dd></div>
    <div class="operator" aria-hidden="true"><dt></dt><dd>=</dd></div>
    <div><dt>${t("transactions.after")}</dt><dd class="money">${money(after_paise)}</dd></div>
  </dl>`;
}

/** One thing that it belongs to; what cannot be read now is still linked. @param {{title: string, href: string, id: string, of: ReturnType<typeof useData>, children: (data: any) => any}} props */
function Belongs({ title, href, id, of, children }) {
  return html`<li><div class="row spread"><a href=${href}>${title}</a><span class="mono xs muted" title=${id}>${shortId(id)}</span></div>
    <div class="small muted">${of.data ? children(of.data) : of.problem ? explain(of.problem) : t("states.loading")}</div></li>`;
}

/** @param {{id: string}} props */
function Call({ id }) {
  const of = useData(`/api/calls/${encodeURIComponent(id)}`);
  return html`<${Belongs} title=${t("transactions.of_call")} href=${`/calls/${encodeURIComponent(id)}`} id=${id} of=${of}>${(/** @type {any} */ call) => html`${phone(call.to)} · ${duration(call.duration_seconds)}${call.explanation ? html`<span class="sub"><bdi>${call.explanation}</bdi></span>` : null}`}<//>`;
}

/** @param {{id: string}} props */
function Campaign({ id }) {
  const of = useData(`/api/campaigns/${encodeURIComponent(id)}`);
  return html`<${Belongs} title=${t("transactions.of_campaign")} href=${`/campaigns/${encodeURIComponent(id)}`} id=${id} of=${of}>${(/** @type {any} */ campaign) => html`<bdi class="clamp">${campaign.name}</bdi>`}<//>`;
}

/** @param {{id: string}} props */
function Order({ id }) {
  const of = useData(`/api/payment/orders/${encodeURIComponent(id)}`);
  return html`<${Belongs} title=${t("transactions.of_order")} href=${`/payments/${encodeURIComponent(id)}`} id=${id} of=${of}>${(/** @type {any} */ order) => order.message}<//>`;
}

/** @param {{id: string, order_id: string | null}} props */
function Payment({ id, order_id }) {
  const of = useData(`/api/payment/payments/${encodeURIComponent(id)}`);
  const href = order_id ? `/payments/${encodeURIComponent(order_id)}` : `/payments?q=${encodeURIComponent(id)}`;
  return html`<${Belongs} title=${t("transactions.of_payment")} href=${href} id=${id} of=${of}>${(/** @type {any} */ payment) => html`${money(paise(payment.amount))} · ${named("payments.method", payment.method)} · ${named("payments.payment_status", payment.status)}`}<//>`;
}

/** @param {{id: string}} props */
function Refund({ id }) {
  const of = useData(`/api/payment/refunds/${encodeURIComponent(id)}`);
  return html`<${Belongs} title=${t("transactions.of_refund")} href=${`/payments?q=${encodeURIComponent(id)}`} id=${id} of=${of}>${(/** @type {any} */ refund) => refund.message}<//>`;
}

/** @param {{row: any}} props */
function Whole({ row }) {
  const belongs = [
    row.call_id ? html`<${Call} id=${row.call_id} />` : null,
    row.campaign_id ? html`<${Campaign} id=${row.campaign_id} />` : null,
    row.order_id ? html`<${Order} id=${row.order_id} />` : null,
    row.payment_id ? html`<${Payment} id=${row.payment_id} order_id=${row.order_id} />` : null,
    row.refund_id ? html`<${Refund} id=${row.refund_id} />` : null,
  ].filter(Boolean);
  /** @type {[string, any][]} */
  const facts = [
    [t("transactions.what"), html`<bdi>${row.description}</bdi>`],
    [t("transactions.time_ist"), html`<time datetime=${row.created_at}>${time(row.created_at, { seconds: true })}</time>`],
    [t("transactions.number"), t("transactions.number_of", { number: count(row.seq) })],
  ];
  if (isStaff.value) facts.push([t("transactions.user_short"), html`<a href=${`/admin/users/${encodeURIComponent(row.user_id)}`}><bdi>${row.user_email ?? row.user_id}</bdi></a>`]);
  return html`<section class="card balance"><div class="body stack">
      <div class="row spread"><h2 class="muted">${named("transactions.category", row.category)}</h2><${Tag} kind=${row.type === "credit" ? "ok" : ""}>${t(row.type === "credit" ? "transactions.credit" : "transactions.debit")}<//></div>
      <div class="figure"><${Money} amount_paise=${moved_paise(row)} sign kind=${row.type === "credit" ? "credit" : ""} /></div>
      <${Sum} row=${row} /><p class="small muted">${named("transactions.about", row.category)}</p></div></section>
    <div class="grid halves start">
      <section class="card"><header><h2>${t("transactions.facts")}</h2></header><div class="body stack"><${Facts} rows=${facts} /><${Copy} text=${row.id} label=${t("transactions.id")} /></div></section>
      <section class="card"><header><h2>${t("transactions.belongs")}</h2></header><div class="body">${belongs.length ? html`<ul class="plain belongs">${belongs}</ul>` : html`<p class="small muted">${t("transactions.belongs_alone")}</p>`}</div></section>
    </div>`;
}

/** @param {{id: string}} props */
export default function TransactionPage({ id }) {
  const of = useData(`/api/transactions/${encodeURIComponent(id)}`);
  return html`<${Page} title=${t("transactions.one")} page=${html`<a class="small" href="/transactions">${t("transactions.back")}</a>
    <${Shown} of=${of} lines=${8}>${(/** @type {any} */ row) => html`<${Whole} row=${row} />`}<//>`} />`;
}
