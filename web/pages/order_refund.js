// @ts-check
/** Sending money of a payment back: how much can go, and what that does to the wallet. */

import { Dialog } from "../components/dialog.js";
import { Button, Field } from "../components/field.js";
import { Failed } from "../components/states.js";
import { say } from "../components/toast.js";
import { post } from "../core/api.js";
import { useAction, useData } from "../core/data.js";
import { money, paise, rupees, typedPaise } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { t } from "../core/texts.js";

/** What is left of a payment: less what went back, less what is on its way and not known to Razorpay yet. */
function leftOf(/** @type {any} */ payment, /** @type {any[]} */ refunds) {
  if (!payment) return null;
  const unsent = refunds.filter((one) => one.status === "pending" && one.razorpay_refund_id === null);
  return unsent.reduce((left, one) => left - (paise(one.amount) ?? 0), (paise(payment.amount) ?? 0) - (paise(payment.amount_refunded) ?? 0));
}

/** The arithmetic: left of the payment, unspent in the wallet, and so at most. @param {{left_paise: number | null, available_paise: number | null, most_paise: number | null}} props */
const Most = ({ left_paise, available_paise, most_paise }) => html`<dl class="parts">
  <div><dt>${t("payments.left")}</dt><dd class="money">${money(left_paise)}</dd></div>
  <div><dt>${t("payments.unspent")}</dt><dd class="money">${money(available_paise)}</dd></div>
  <div><dt>${t("payments.at_most")}</dt><dd class="money">${money(most_paise)}</dd></div></dl>`;

/** @param {{order: any, payment: any, refunds: any[], onDone: () => void, onClose: () => void}} props */
export function RefundDialog({ order, payment, refunds, onDone, onClose }) {
  const owner = useData(`/api/admin/users/${encodeURIComponent(order.user_id)}`);
  const left_paise = leftOf(payment, refunds);
  const available_paise = paise(owner.data?.available);
  const known_paise = left_paise === null || available_paise === null ? null : Math.max(0, Math.min(left_paise, available_paise));
  const [text, setText] = useState(/** @type {string | null} */ (null));
  const [reason, setReason] = useState("");
  const deed = useAction((key, /** @type {number} */ amount) => post("/api/payment/refunds", { payment_id: order.payment_id, amount: rupees(amount), reason: reason.trim() }, key));
  const most_paise = deed.problem?.code === "refund_exceeds_unspent" ? paise(deed.problem.body.refundable) : known_paise;
  const shown = text ?? (known_paise ? String(rupees(known_paise)) : "");
  const amount_paise = typedPaise(shown);
  const off = known_paise === 0 ? t("payments.refund_none") : amount_paise === null || amount_paise === 0 ? t("recharge.type_amount")
    : most_paise !== null && amount_paise > most_paise ? t("payments.refund_too_much", { most: money(most_paise) })
    : reason.trim().length < 3 ? t("fields.reason_missing") : null;
  const changed = (/** @type {(value: string) => void} */ set) => (/** @type {string} */ value) => {
    set(value);
    if (deed.problem) deed.clear();
  };
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (off || amount_paise === null) return;
    const made = await deed.run(amount_paise);
    if (!made) return;
    say(made.message);
    onDone();
  };
  const after_paise = available_paise !== null && amount_paise !== null ? available_paise - amount_paise : null;
  return html`<${Dialog} title=${t("payments.refund")} onClose=${onClose}><form class="stack" onSubmit=${send}>
    <p class="small muted">${t("payments.refund_about")}</p>
    <${Most} left_paise=${left_paise} available_paise=${available_paise} most_paise=${most_paise} />
    ${owner.problem ? html`<${Failed} problem=${owner.problem} retry=${owner.reload} />` : null}
    <${Field} label=${t("recharge.amount")} value=${shown} onInput=${changed(setText)} inputmode="decimal" autocomplete="off" error=${deed.problem?.fields["amount"]} />
    <${Field} label=${t("fields.reason")} value=${reason} onInput=${changed(setReason)} hint=${t("payments.refund_reason_hint")} required minlength="3" maxlength="200" error=${deed.problem?.fields["reason"]} />
    ${after_paise !== null && after_paise >= 0 ? html`<p class="small">${t("payments.refund_effect", { available: money(available_paise), amount: money(amount_paise), after: money(after_paise) })}</p>` : null}
    ${deed.problem ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${deed.isBusy} off=${off}>${t("payments.refund_now", { amount: money(amount_paise) })}<//></div>
  </form><//>`;
}
