// @ts-check
/** Payments: orders, refunds and disputes, each with its state in words; and where a payment's id leads. */

import { Chips, Field } from "../components/field.js";
import { Page } from "../components/shell.js";
import { Empty, Failed, Loading } from "../components/states.js";
import { UserName, UserPicker } from "../components/user_picker.js";
import { Icon } from "../components/icon.js";
import { get, Problem } from "../core/api.js";
import { html, useEffect, useState } from "../core/html.js";
import { navigate, query, setQuery } from "../core/router.js";
import { isStaff } from "../core/session.js";
import { t } from "../core/texts.js";
import { Disputes, Orders, Refunds } from "./payments_lists.js";

const TABS = ["orders", "refunds", "disputes"];

/** The address of the order that an id belongs to: of an order, a payment, a refund or a dispute. @returns {Promise<string>} */
async function addressOf(/** @type {string} */ id) {
  const escaped = encodeURIComponent(id);
  if (id.startsWith("order_")) return `/payments/${escaped}`;
  const path = /^(rfnd|refund)_/.test(id) ? "refunds" : /^disp_/.test(id) ? "disputes" : "payments";
  const found = await get(`/api/payment/${path}/${escaped}`);
  return `/payments/${encodeURIComponent(found.order_id)}?of=${escaped}`;
}

/** Finds the order of an id, and goes there. @param {{sought: string}} props */
function Finding({ sought }) {
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let isGone = false;
    setProblem(null);
    addressOf(sought).then(
      (address) => !isGone && navigate(address, { replace: true }),
      (failure) => {
        if (!(failure instanceof Problem)) throw failure;
        if (!isGone) setProblem(failure);
      },
    );
    return () => { isGone = true; };
  }, [sought, turn]);
  if (!problem) return html`<section class="card"><${Loading} lines=${2} /></section>`;
  if (problem.isUnknown || problem.status === 429) return html`<${Failed} problem=${problem} retry=${() => setTurn(turn + 1)} />`;
  return html`<section class="card"><${Empty} icon="search" title=${t("payments.not_found", { text: sought })}><span class="small">${t(isStaff.value ? "payments.not_found_hint_staff" : "payments.not_found_hint")}</span>
    <button class="btn" type="button" onClick=${() => setQuery({ q: null })}>${t("payments.to_list")}</button><//></section>`;
}

function Find() {
  const [text, setText] = useState(query.value.get("q") ?? "");
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (text.trim()) setQuery({ q: text.trim(), cursor: null });
  };
  return html`<form role="search" class="row tight end-aligned find" onSubmit=${send}><${Field} label=${t("payments.find")} type="search" value=${text} onInput=${setText} placeholder="pay_… rfnd_… order_…" autocomplete="off" />
    <button class="btn" type="submit">${t("payments.find_now")}</button></form>`;
}

/** Whose, for those who see everybody's. @param {{user_id: string | null}} props */
function Whose({ user_id }) {
  if (!isStaff.value) return null;
  if (!user_id) return html`<${UserPicker} onChoose=${(/** @type {string} */ id) => setQuery({ user_id: id, cursor: null })} />`;
  return html`<button class="chip chosen" type="button" aria-label=${t("transactions.without", { what: t("transactions.by.user_id") })} onClick=${() => setQuery({ user_id: null, cursor: null })}>${t("transactions.by.user_id")}: <${UserName} id=${user_id} /><${Icon} name="close" /></button>`;
}

export default function PaymentsPage() {
  const sought = query.value.get("q");
  const tab = TABS.includes(query.value.get("tab") ?? "") ? /** @type {string} */ (query.value.get("tab")) : "orders";
  const user_id = query.value.get("user_id");
  const kinds = { orders: Orders, refunds: Refunds, disputes: Disputes };
  const list = kinds[/** @type {keyof typeof kinds} */ (tab)];
  return html`<${Page} title=${t("nav.payments")} page=${html`
    <div class="row spread end-aligned"><${Chips} label=${t("payments.show")} value=${tab} options=${TABS.map((one) => [one, t(`payments.${one}`)])} onChoose=${(/** @type {string} */ one) => setQuery({ tab: one === "orders" ? null : one, cursor: null, q: null })} />
      <div class="row tight end-aligned">${tab === "orders" ? html`<${Whose} user_id=${user_id} />` : null}<${Find} key=${sought} /></div></div>
    ${sought ? html`<${Finding} sought=${sought} />` : html`<${list} user_id=${user_id} />`}
    ${sought || isStaff.value || tab !== "refunds" ? null : html`<p class="small muted">${t("payments.refunds_how")}</p>`}`} />`;
}
