// @ts-check
/** One order: its story from its opening to what became of its money. */

import { Copy } from "../components/copy.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/shell.js";
import { Shown } from "../components/states.js";
import { Facts } from "../components/table.js";
import { useData } from "../core/data.js";
import { money, paise, time } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { query } from "../core/router.js";
import { isAdmin, isStaff } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { RefundDialog } from "./order_refund.js";
import { Story } from "./order_story.js";
import { canBePaid, OrderTag, stateOf } from "./payments_states.js";

const OPEN_MS = 4_000;
const REFUNDING_MS = 5_000;

/** What Razorpay says of the payment that paid: its fee and tax, where it has told them. @param {{of: {data: any, problem: any}}} props */
function Fee({ of }) {
  const payment = of.data;
  if (!payment) return html`<p class="small muted">${t(of.problem ? "payments.fee_unreadable" : "states.loading")}</p>`;
  if (payment.fee === null) return html`<p class="small muted">${t("payments.fee_unknown")}</p>`;
  const fee_paise = paise(payment.fee);
  const tax_paise = paise(payment.tax);
  return html`<dl class="parts sum">
      <div><dt>${t("payments.fee_own")}</dt><dd class="money">${money(fee_paise === null || tax_paise === null ? null : fee_paise - tax_paise)}</dd></div>
      <div class="operator" aria-hidden="true"><dt></dt><dd>+</dd></div>
      <div><dt>${t("payments.tax")}</dt><dd class="money">${money(tax_paise)}</dd></div>
      <div class="operator" aria-hidden="true"><dt></dt><dd>=</dd></div>
      <div><dt>${t("payments.fee")}</dt><dd class="money">${money(fee_paise)}</dd></div></dl>
    <p class="xs muted">${t("payments.fee_about")}</p>`;
}

/** The next step: paying, waiting, or sending back. @param {{order: any, payment: any, onRefund: () => void}} props */
function Actions({ order, payment, onRefund }) {
  if (canBePaid(order) && !isStaff.value) {
    const isPending = stateOf(order)[0] === "pending";
    return html`<div class="row"><a class=${isPending ? "btn" : "btn primary"} href=${`/pay/${encodeURIComponent(order.order_id)}`} target="wallet-pay"><${Icon} name="card" />${t(isPending ? "payments.open_page" : "payments.pay_amount", { amount: money(paise(order.amount)) })}</a>
      ${isPending ? html`<span class="small muted">${t("payments.pending_wait")}</span>` : null}</div>`;
  }
  if (!isAdmin.value || order.status !== "paid") return null;
  const left_paise = payment ? (paise(payment.amount) ?? 0) - (paise(payment.amount_refunded) ?? 0) : null;
  if (left_paise === 0) return html`<p class="small muted">${t("payments.nothing_left")}</p>`;
  return html`<div class="row"><button class="btn danger" type="button" onClick=${onRefund}>${t("payments.refund")}</button></div>`;
}

/** @param {{order: any, reload: () => void}} props */
function Whole({ order, reload }) {
  const [isRefunding, setIsRefunding] = useState(false);
  const paidBy = order.payment_id ? `/api/payment/payments/${encodeURIComponent(order.payment_id)}` : null;
  const payment = useData(paidBy);
  const refunds = useData(paidBy ? "/api/payment/refunds" : null, { payment_id: order.payment_id, limit: 200 }, { live: ["balance"] });
  const isOnItsWay = (refunds.data?.refunds ?? []).some((/** @type {any} */ one) => one.status === "pending");
  useEffect(() => {
    if (!isOnItsWay) return undefined;
    const timer = setInterval(() => {
      refunds.reload();
      reload();
    }, REFUNDING_MS);
    return () => clearInterval(timer);
  }, [isOnItsWay]);
  const refunded = () => {
    setIsRefunding(false);
    refunds.reload();
    payment.reload();
    reload();
  };
  /** @type {[string, any][]} */
  const facts = [
    [t("payments.ordered"), time(order.created_at, { seconds: true })],
    [t("payments.paid_at"), time(order.paid_at, { seconds: true })],
    [t("payments.refunded_total"), money(paise(order.refunded))],
    [t("payments.receipt"), html`<span class="mono">${order.receipt}</span>`],
    [t("payments.mode"), named("payments.modes", order.mode)],
  ];
  if (isStaff.value) facts.push([t("transactions.user_short"), html`<a href=${`/admin/users/${encodeURIComponent(order.user_id)}`}><bdi>${order.user_email ?? order.user_id}</bdi></a>`]);
  return html`<section class="card balance"><div class="body stack">
      <div class="row spread"><h2 class="muted">${t("payments.recharge_of")}</h2><${OrderTag} order=${order} /></div>
      <div class="figure money">${money(paise(order.amount))}</div><p role="status"><bdi>${order.message}</bdi></p>
      <${Actions} order=${order} payment=${payment.data} onRefund=${() => setIsRefunding(true)} /></div></section>
    <div class="grid g2"><section class="card"><header><h2>${t("payments.story")}</h2><span class="small muted">${t("payments.ist")}</span></header><div class="body"><${Story} order=${order} refunds=${refunds} marked=${query.value.get("of")} /></div></section>
      <div class="stack"><section class="card"><header><h2>${t("transactions.facts")}</h2></header><div class="body stack"><${Facts} rows=${facts} /><${Copy} text=${order.order_id} label=${t("payments.order_id")} /></div></section>
        ${paidBy ? html`<section class="card"><header><h2>${t("payments.fee_title")}</h2></header><div class="body stack tight"><${Fee} of=${payment} /></div></section>` : null}</div></div>
    ${isRefunding ? html`<${RefundDialog} order=${order} payment=${payment.data} refunds=${refunds.data?.refunds ?? []} onDone=${refunded} onClose=${() => setIsRefunding(false)} />` : null}`;
}

/** @param {{id: string}} props */
export default function OrderPage({ id }) {
  const [isOpen, setIsOpen] = useState(true);
  const of = useData(`/api/payment/orders/${encodeURIComponent(id)}`, {}, { live: ["balance"], every_ms: isOpen ? OPEN_MS : 0 });
  const isStillOpen = of.data === undefined || (of.data.status !== "paid" && of.data.next_check_at !== null);
  if (isStillOpen !== isOpen) setIsOpen(isStillOpen);
  return html`<${Page} title=${t("payments.one")} page=${html`<a class="small" href="/payments">${t("payments.back")}</a>
    <${Shown} of=${of} lines=${8}>${(/** @type {any} */ order) => html`<${Whole} order=${order} reload=${of.reload} />`}<//>`} />`;
}
