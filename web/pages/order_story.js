// @ts-check
/** The story of an order as a timeline: opened, tried, failed and why, paid, credited, sent back, disputed. */

import { Failed } from "../components/states.js";
import { money, paise, time } from "../core/format.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { StateTag } from "./payments_states.js";

/** @typedef {{at: string | null, title: any, text?: any, id?: string, isNow?: boolean}} Step */

const transaction = (/** @type {string} */ id) => html`<a href=${`/transactions/${encodeURIComponent(id)}`}>${t("payments.see_transaction")}</a>`;

/** @returns {Step} */
function payment(/** @type {any} */ one) {
  const why = one.error_description || (one.error_reason ? named("payments.error_reason", one.error_reason) : "");
  /** @type {Record<string, any>} */
  const texts = {
    credited: t("payments.step.credited_text"),
    failed: why ? t("payments.step.failed_because", { why }) : t("payments.step.failed_text"),
    pending: t("payments.step.pending_text"),
    review: named("payments.review", one.review_reason),
  };
  return {
    at: one.created_at,
    id: one.payment_id,
    title: html`${t("payments.step.tried", { amount: money(paise(one.amount)), method: named("payments.method", one.method) })} <${StateTag} group="outcome" value=${one.outcome} />`,
    text: html`<bdi>${texts[one.outcome] ?? named("payments.payment_status", one.status)}</bdi><span class="sub mono xs">${one.payment_id}</span>`,
  };
}

/** @returns {Step} */
function refund(/** @type {any} */ one) {
  const who = one.requested_by ? t("payments.step.by_admin") : t("payments.at_razorpay");
  return {
    at: one.created_at,
    id: one.refund_id,
    title: html`${t("payments.step.refund", { amount: money(paise(one.amount)) })} <${StateTag} group="refund_state" value=${one.status} />`,
    text: html`<bdi>${one.message}</bdi><span class="sub">${who}${one.reason ? html`: <bdi>${one.reason}</bdi>` : null}</span>
      ${one.due > 0 ? html`<span class="sub">${t("payments.step.due", { due: money(paise(one.due)) })}</span>` : null}
      <span class="sub mono xs">${one.razorpay_refund_id ?? one.refund_id}</span>${one.transaction_id ? html`<span class="sub">${transaction(one.transaction_id)}</span>` : null}`,
  };
}

/** @returns {Step} */
function dispute(/** @type {any} */ one) {
  return {
    at: one.created_at,
    id: one.dispute_id,
    title: html`${t("payments.step.dispute", { amount: money(paise(one.amount)) })} <${StateTag} group="dispute_state" value=${one.state} />`,
    text: html`<bdi>${one.message || named("payments.dispute_about", one.state)}</bdi><span class="sub">${named("payments.dispute_reason", one.reason_code)}${one.respond_by && one.state === "reserved" ? ` · ${t("payments.step.respond_by", { at: time(one.respond_by) })}` : ""}</span>
      <span class="sub mono xs">${one.dispute_id}</span>${one.transaction_id ? html`<span class="sub">${transaction(one.transaction_id)}</span>` : null}`,
  };
}

/** All that happened, in the order in which it did. @returns {Step[]} */
function stepsOf(/** @type {any} */ order, /** @type {any[]} */ refunds) {
  /** @type {Step[]} */
  const steps = [{ at: order.created_at, title: t("payments.step.opened", { amount: money(paise(order.amount)) }), text: html`<span class="mono xs">${order.order_id}</span>` }];
  steps.push(...order.payments.map(payment));
  if (order.paid_at) steps.push({ at: order.paid_at, title: t("payments.step.credited", { amount: money(paise(order.amount)) }), text: order.transaction_id ? transaction(order.transaction_id) : null });
  steps.push(...refunds.map(refund), ...(order.disputes ?? []).map(dispute));
  // Razorpay tells whole seconds: within one, it is the order in which things happen.
  const second = (/** @type {Step} */ step) => (step.at ?? "").slice(0, 19);
  steps.sort((one, other) => second(one).localeCompare(second(other)));
  if (order.next_check_at) steps.push({ at: order.next_check_at, isNow: true, title: t("payments.step.next"), text: t("payments.step.next_text") });
  return steps;
}

/** @param {{order: any, refunds: {data: any, problem: any, reload: () => void}, marked: string | null}} props `marked`: the id that led here */
export function Story({ order, refunds, marked }) {
  const steps = stepsOf(order, refunds.data?.refunds ?? []);
  return html`<ol class="time story">${steps.map((step, i) => html`<li key=${step.id ?? i} class=${step.isNow ? "now" : undefined}>
      <time class="num xs muted" datetime=${step.at}>${time(step.at, { seconds: true })}</time>
      <div class=${marked && step.id === marked ? "marked" : undefined}><strong>${step.title}</strong><div class="small muted">${step.text}</div></div></li>`)}</ol>
    ${refunds.problem ? html`<${Failed} problem=${refunds.problem} retry=${refunds.reload} />` : null}`;
}
