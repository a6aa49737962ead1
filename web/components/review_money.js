// @ts-check
/** What waits about money that was paid, goes back, or is disputed. */

import { get, post, Problem, request } from "../core/api.js";
import { useData } from "../core/data.js";
import { money, paise, rupees, time } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { Field } from "./field.js";
import { Decide } from "./review_decide.js";
import { AtRazorpay, Decisions, Ids, Parts, UserLink } from "./review_evidence.js";
import { Shown } from "./states.js";
import { Facts, Table } from "./table.js";

/** @param {{item: any, onDone: () => void}} props */
export function PaymentDecision({ item, onDone }) {
  const paid = paise(item.amount) ?? 0;
  const ordered = paise(item.facts.ordered);
  const difference = ordered === null ? null : paid - ordered;
  const order = useData(`/api/payment/orders/${encodeURIComponent(item.facts.order_id)}`);
  return html`<${Parts} rows=${[["review.payment.ordered", money(ordered)], ["review.payment.paid", money(paid)], ["review.payment.difference", money(difference, { sign: true })]]} />
    <p class="small">${t(`review.payment.why.${item.reason}`)} ${t("review.payment.nothing")}</p>
    <${Facts} rows=${[[t("review.user"), html`<${UserLink} item=${item} />`], [t("review.payment.payment"), html`<${Ids} id=${item.id} href=${`/payments/${item.facts.order_id}`} />`], [t("review.payment.status"), named("review.payment.statuses", item.facts.status)],
      ...(item.facts.refunded ? [[t("review.payment.refunded"), money(paise(item.facts.refunded))]] : [])]} />
    <h3>${t("review.story")}</h3>
    <${Shown} of=${order} lines=${2}>${(/** @type {any} */ found) => html`<${OrderStory} order=${found} />`}<//>
    <${AtRazorpay} kind="payments" id=${item.id} />
    <${Decide} choices=${choicesOfPayment(item, paid, ordered)} onDone=${onDone} />`;
}

/** @param {{order: any}} props */
function OrderStory({ order }) {
  const columns = [
    { title: t("review.when"), show: (/** @type {any} */ row) => html`<span class="nowrap">${time(row.created_at)}</span>` },
    { title: t("review.what"), show: (/** @type {any} */ row) => html`${named("review.payment.statuses", row.status)}<span class="sub">${[row.method, row.review_reason ? named("review.titles.payment", row.review_reason) : named("review.payment.outcomes", row.outcome)].filter(Boolean).join(" · ")}</span>` },
    { title: t("review.amount"), isNumber: true, show: (/** @type {any} */ row) => money(paise(row.amount)) },
  ];
  return html`<p class="small muted">${order.message}</p><${Table} caption=${t("review.story")} columns=${columns} rows=${order.payments} id=${(/** @type {any} */ row) => row.payment_id} />`;
}

/** What can be done with a payment that was taken: credit it, send it back, or only note what was done. */
function choicesOfPayment(/** @type {any} */ item, /** @type {number} */ paid, /** @type {number | null} */ ordered) {
  const path = `/api/admin/payments/${encodeURIComponent(item.id)}/resolve`;
  const amount = Math.min(paid, ordered ?? paid);
  const name = item.user_name ?? item.user_id;
  const rest = paid - amount;
  const credit = {
    id: "credit",
    label: t("review.payment.credit", { amount: money(amount) }),
    says: t(rest > 0 ? "review.payment.credit_says_rest" : "review.payment.credit_says", { amount: money(amount), name, rest: money(rest) }),
    done: t("review.payment.credit_done", { amount: money(amount), name }),
    work: async (/** @type {string} */ _, /** @type {string} */ reason) => {
      const now = await get("/api/admin/review", { kind: "payment", id: item.id });
      if (!now.items.length) throw new Problem(409, { code: "gone", detail: t("review.payment.gone") });
      // One key for the payment: whatever fails afterwards, the next try credits nothing twice.
      const once = `review-${item.id}-${Date.parse(item.since)}`;
      const made = await post(`/api/admin/users/${encodeURIComponent(item.user_id)}/adjustments`, { type: "credit", amount: rupees(amount), reason: `${reason} (${item.id})`.slice(0, 500) }, once);
      return post(path, { note: t(made.status === "waits_for_second_admin" ? "review.payment.credit_note_waits" : "review.payment.credit_note", { amount: money(amount), reason }) });
    },
  };
  const refund = {
    id: "refund",
    label: t("review.payment.refund", { amount: money(paid) }),
    says: t("review.payment.refund_says", { amount: money(paid) }),
    done: t("review.payment.refund_done", { amount: money(paid) }),
    work: (/** @type {string} */ key, /** @type {string} */ reason) => post("/api/payment/refunds", { payment_id: item.id, reason }, key),
  };
  const note = {
    id: "resolve",
    label: t("review.payment.resolve"),
    says: t("review.payment.resolve_says"),
    done: t("review.payment.resolve_done"),
    kind: item.reason === "refunded" ? "primary" : "quiet",
    work: (/** @type {string} */ _, /** @type {string} */ reason) => post(path, { note: reason }),
  };
  if (item.reason === "refunded") return [note];
  return item.reason === "second_payment" ? [refund, { ...credit, kind: "" }, note] : [credit, refund, note];
}

/** @param {{item: any, onDone: () => void}} props */
export function RefundDecision({ item, onDone }) {
  const found = useData(`/api/payment/refunds/${encodeURIComponent(item.id)}`);
  const amount = money(paise(item.amount));
  const end = (/** @type {string} */ outcome) => ({
    id: outcome,
    label: t(`review.refund.${outcome}`, { amount }),
    says: t(`review.refund.${outcome}_says`, { amount, name: item.user_name ?? item.user_id }),
    done: t(`review.refund.${outcome}_done`, { amount }),
    work: (/** @type {string} */ _, /** @type {string} */ reason) => request("POST", `/api/payment/refunds/${encodeURIComponent(item.id)}/resolve`, { body: { outcome, reason } }),
  });
  return html`<p class="small">${t(`review.refund.why.${item.reason}`)}</p>
    <${Shown} of=${found} lines=${4}>${(/** @type {any} */ refund) => html`
      <${Parts} rows=${[["review.refund.amount", money(paise(refund.amount))], ["review.refund.taken", money(paise(refund.taken))], ["review.refund.due", money(paise(refund.due))]]} />
      <p class="small muted">${refund.message}</p>
      <${Facts} rows=${[[t("review.user"), html`<${UserLink} item=${item} />`], [t("review.payment.payment"), html`<${Ids} id=${refund.payment_id} href=${`/payments/${refund.order_id}`} />`], [t("review.refund.ours"), html`<${Ids} id=${refund.refund_id} />`], [t("review.refund.theirs"), html`<${Ids} id=${refund.razorpay_refund_id} />`],
        [t("review.refund.asked_why"), html`<bdi>${refund.reason ?? "—"}</bdi>`], [t("review.when"), time(refund.created_at)]]} />
      <${Decisions} made=${refund.decisions} />`}<//>
    <${AtRazorpay} kind="payments" id=${item.facts.payment_id} />
    <${Decide} choices=${["processed", "failed"].map(end)} onDone=${onDone} />`;
}

/** @param {{item: any, onDone: () => void}} props */
export function DisputeDecision({ item, onDone }) {
  const path = `/api/admin/disputes/${encodeURIComponent(item.id)}`;
  const found = useData(path);
  const [refundId, setRefundId] = useState(item.facts.refund_ids[0] ?? "");
  const amount = money(paise(item.amount));
  const choices = item.decisions.map((/** @type {string} */ action) => ({
    id: action,
    label: t(`review.dispute.${action}`, { amount }),
    says: t(`review.dispute.${action}_says`, { amount, name: item.user_name ?? item.user_id }),
    done: t("review.dispute.done"),
    work: (/** @type {string} */ _, /** @type {string} */ reason) => post(`${path}/resolve`, { action, reason, ...(action === "pair" ? { refund_id: refundId } : {}) }),
  }));
  return html`<p class="small">${t(`review.dispute.why.${item.reason}`, { when: time(item.due_at) })}</p>
    <${Shown} of=${found} lines=${4}>${(/** @type {any} */ dispute) => html`
      <${Parts} rows=${[["review.dispute.amount", money(paise(dispute.amount))], ["review.dispute.taken", money(paise(dispute.taken))], ["review.dispute.due", money(paise(dispute.due))]]} />
      <${Facts} rows=${[[t("review.dispute.respond_by"), time(dispute.respond_by)], [t("review.user"), html`<${UserLink} item=${item} />`], [t("review.payment.payment"), html`<${Ids} id=${dispute.payment_id} href=${`/payments/${dispute.order_id}`} />`],
        [t("review.dispute.phase"), `${named("review.dispute.phases", dispute.phase)}, ${named("review.dispute.statuses", dispute.status)}`], [t("review.dispute.reason_code"), named("review.dispute.codes", dispute.reason_code)], [t("review.dispute.state"), named("review.dispute.states", dispute.state)]]} />
      <${Decisions} made=${dispute.decisions} />`}<//>
    <${AtRazorpay} kind="disputes" id=${item.id} isPrimary=${choices.length === 0} />
    ${choices.length ? html`<${Decide} choices=${choices} onDone=${onDone}>
      ${item.decisions.includes("pair") ? html`<${Field} label=${t("review.dispute.which_refund")} value=${refundId} onInput=${setRefundId} options=${item.facts.refund_ids.map((/** @type {string} */ id) => [id, id])} />` : null}<//>` : null}`;
}
