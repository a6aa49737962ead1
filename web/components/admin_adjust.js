// @ts-check
/** Credit or debit a wallet by hand: what it holds afterwards, in words, before it is done. */

import { post } from "../core/api.js";
import { useAction } from "../core/data.js";
import { money, paise, rupees, typedPaise } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { Dialog } from "./dialog.js";
import { Button, Chips, Field } from "./field.js";
import { Failed } from "./states.js";
import { say } from "./toast.js";

/** Why the amount cannot be posted; null when it can. @param {{type: string, amount_paise: number | null, user: any, reason: string}} given */
function offFor({ type, amount_paise, user, reason }) {
  if (!amount_paise) return t("recharge.type_amount");
  const available_paise = paise(user.available) ?? 0;
  if (type === "debit" && amount_paise > available_paise) return t("users.adjust.too_much", { available: money(available_paise) });
  return reason.trim() ? null : t("fields.reason_missing");
}

/** The arithmetic of it. @param {{type: string, amount_paise: number, user: any}} props */
function Arithmetic({ type, amount_paise, user }) {
  const balance_paise = paise(user.balance) ?? 0;
  const due_paise = paise(user.due) ?? 0;
  if (type === "debit") return html`<p class="num">${money(balance_paise)} − ${money(amount_paise)} = <strong>${money(balance_paise - amount_paise)}</strong></p>`;
  const recovered_paise = Math.min(due_paise, amount_paise);
  return html`<p class="num">${money(balance_paise)} + ${money(amount_paise)}${recovered_paise ? ` − ${money(recovered_paise)}` : ""} = <strong>${money(balance_paise + amount_paise - recovered_paise)}</strong>
    ${recovered_paise ? html`<span class="sub small muted">${t("users.adjust.due_first", { due: money(recovered_paise) })}</span>` : null}</p>`;
}

/** @param {{user: any, onClose: () => void, onDone: () => void}} props */
export function Adjust({ user, onClose, onDone }) {
  const [type, setType] = useState("credit");
  const [text, setText] = useState("");
  const [reason, setReason] = useState("");
  const [waits, setWaits] = useState(/** @type {any} */ (null));
  const amount_paise = typedPaise(text);
  const deed = useAction((key) => post(`/api/admin/users/${encodeURIComponent(user.id)}/adjustments`, { type, amount: rupees(/** @type {number} */ (amount_paise)), reason: reason.trim() }, key));
  const off = offFor({ type, amount_paise, user, reason });
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (off) return;
    const answer = await deed.run();
    if (!answer) return;
    onDone();
    if (answer.status === "waits_for_second_admin") setWaits(answer);
    else {
      say(t("users.adjust.done", { balance: money(paise(answer.balance)) }));
      onClose();
    }
  };
  if (waits) {
    return html`<${Dialog} title=${t("users.waiting.title")} onClose=${onClose}><div class="stack">
      <p>${t("users.adjust.waits", { deed: t(`users.deeds.${type}_amount`, { amount: money(amount_paise) }) })}</p>
      <div class="row"><a class="btn" href="/admin/users?show=waiting">${t("users.adjust.see")}</a><${Button} kind="primary" onClick=${onClose}>${t("actions.close")}<//></div></div><//>`;
  }
  return html`<${Dialog} title=${t("users.adjust.title")} onClose=${onClose}><form class="stack" onSubmit=${send}>
    <${Chips} label=${t("users.adjust.type")} value=${type} onChoose=${setType} options=${["credit", "debit"].map((key) => [key, t(`users.types.${key}`)])} />
    <${Field} label=${t("recharge.amount")} value=${text} onInput=${setText} inputmode="decimal" autocomplete="off" error=${deed.problem?.fields["amount"]} required />
    ${amount_paise ? html`<${Arithmetic} type=${type} amount_paise=${amount_paise} user=${user} />` : null}
    <${Field} label=${t("fields.reason")} hint=${t("users.adjust.reason_hint")} value=${reason} onInput=${setReason} maxlength="500" required />
    <p class="small muted">${t("users.adjust.second")}</p>
    ${deed.problem ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" kind=${type === "debit" ? "danger" : "primary"} isBusy=${deed.isBusy} off=${off}>${amount_paise ? t(`users.deeds.${type}_amount`, { amount: money(amount_paise) }) : t(`users.types.${type}`)}<//>
      <${Button} kind="quiet" onClick=${onClose}>${t("actions.cancel")}<//></div>
  </form><//>`;
}
