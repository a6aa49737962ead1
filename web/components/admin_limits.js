// @ts-check
/** What an admin sets for one user: an own rate, and limits of their calls. */

import { post, request } from "../core/api.js";
import { useAction } from "../core/data.js";
import { count, money, paise, rupees, shownRupees, typedPaise } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { Dialog } from "./dialog.js";
import { Button, Field } from "./field.js";
import { Failed } from "./states.js";
import { Table } from "./table.js";
import { say } from "./toast.js";

export const LIMITS = ["concurrent_calls", "calls_per_minute", "calls_per_day", "daily_spend_cap"];
const isMoney = (/** @type {string} */ name) => name === "daily_spend_cap";

/** A limit, shown; null is none. */
const shownLimit = (/** @type {string} */ name, /** @type {any} */ value) =>
  value === null || value === undefined ? t("users.limits.none") : isMoney(name) ? shownRupees(value) : count(value);

/** The limits in force, and which of them an admin has set. @param {{user: any}} props */
export function Limits({ user }) {
  const columns = [
    { title: t("users.limits.limit"), show: (/** @type {string} */ name) => t(`users.limits.names.${name}`) },
    { title: t("users.limits.in_force"), isNumber: true, show: (/** @type {string} */ name) => html`<strong>${shownLimit(name, user.limits[name])}</strong>` },
    { title: t("users.limits.from"), show: (/** @type {string} */ name) => t(user.own_limits[name] === null ? "users.limits.of_settings" : "users.limits.own") },
  ];
  return html`<${Table} caption=${t("users.limits.title")} columns=${columns} rows=${LIMITS} id=${(/** @type {string} */ name) => name} />`;
}

/** What was typed as the API takes it: undefined is nonsense, null nothing. */
function read(/** @type {string} */ name, /** @type {string} */ text) {
  if (!text.trim()) return null;
  if (isMoney(name)) {
    const amount_paise = typedPaise(text);
    return amount_paise === null ? undefined : rupees(amount_paise);
  }
  return /^\d{1,7}$/.test(text.replace(/,/g, "").trim()) ? Number(text.replace(/,/g, "")) : undefined;
}

/** @param {{user: any, onClose: () => void, onDone: () => void}} props */
export function SetLimits({ user, onClose, onDone }) {
  const [texts, setTexts] = useState(/** @type {Record<string, string>} */ (Object.fromEntries(LIMITS.map((name) => [name, user.own_limits[name] === null ? "" : String(user.own_limits[name])]))));
  const values = Object.fromEntries(LIMITS.map((name) => [name, read(name, texts[name] ?? "")]));
  const wrong = LIMITS.find((name) => values[name] === undefined);
  const deed = useAction(() => request("PATCH", `/api/admin/users/${encodeURIComponent(user.id)}`, { body: { limits: values } }));
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (wrong || !(await deed.run())) return;
    say(t("users.limits.done"));
    onDone();
    onClose();
  };
  return html`<${Dialog} title=${t("users.limits.title")} onClose=${onClose}><form class="stack" onSubmit=${send}>
    <p class="small muted">${t("users.limits.hint")}</p>
    <div class="form-grid">${LIMITS.map((name) => html`<${Field} key=${name} label=${t(`users.limits.names.${name}`)} value=${texts[name]} inputmode=${isMoney(name) ? "decimal" : "numeric"} autocomplete="off"
      hint=${t("users.limits.now", { value: shownLimit(name, user.limits[name]) })} error=${values[name] === undefined ? t("users.limits.nonsense") : deed.problem?.fields[`limits.${name}`]}
      onInput=${(/** @type {string} */ text) => setTexts({ ...texts, [name]: text })} />`)}</div>
    ${deed.problem ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${deed.isBusy} off=${wrong ? t("users.limits.nonsense") : null}>${t("users.limits.set")}<//>
      <${Button} kind="quiet" onClick=${onClose}>${t("actions.cancel")}<//></div>
  </form><//>`;
}

/** @param {{user: any, onClose: () => void, onDone: () => void}} props */
export function SetRate({ user, onClose, onDone }) {
  const [text, setText] = useState(user.call_rate === null ? "" : String(user.call_rate));
  const amount_paise = typedPaise(text);
  const deed = useAction((_, rate) => post(`/api/admin/users/${encodeURIComponent(user.id)}/call-rate`, { rate }));
  const set = async (/** @type {number | null} */ rate) => {
    if (!(await deed.run(rate))) return;
    say(rate === null ? t("users.rate.removed") : t("users.rate.done", { rate: shownRupees(rate) }));
    onDone();
    onClose();
  };
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (amount_paise) void set(rupees(amount_paise));
  };
  return html`<${Dialog} title=${t("users.rate.title")} onClose=${onClose}><form class="stack" onSubmit=${send}>
    <p class="small muted">${t("users.rate.hint")}</p>
    <${Field} label=${t("users.rate.label")} value=${text} onInput=${setText} inputmode="decimal" autocomplete="off" error=${deed.problem?.fields["rate"]}
      hint=${amount_paise ? t("users.rate.example", { cost: money(Math.ceil(amount_paise / 2)) }) : null} />
    ${deed.problem ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${deed.isBusy} off=${amount_paise ? null : t("users.rate.missing")}>${amount_paise ? t("users.rate.set", { rate: money(amount_paise) }) : t("actions.save")}<//>
      ${user.call_rate === null ? null : html`<${Button} kind="danger" isBusy=${deed.isBusy} onClick=${() => void set(null)}>${t("users.rate.remove")}<//>`}
      <${Button} kind="quiet" onClick=${onClose}>${t("actions.cancel")}<//></div>
  </form><//>`;
}

/** Whether a user has a rate of their own, in words. */
export const ownRate = (/** @type {any} */ user) => (user.call_rate === null ? t("users.no_own_rate") : t("users.rate.a_minute", { rate: money(paise(user.call_rate)) }));
