// @ts-check
/** When a campaign calls, how often, how fast and for how much. */

import { useData } from "../core/data.js";
import { day } from "../core/format.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { PURPOSES, RETRIED, WEEKDAYS } from "./campaign_plan.js";
import { Check, Field } from "./field.js";

/** @typedef {import("./campaign_plan.js").Plan} Plan */
/** @typedef {{plan: Plan, set: (changes: Partial<Plan>) => void, wrong: Record<string, string>, campaign?: any}} Props
 *   `campaign`: as it is stored, where some of it cannot be changed any more */

/** The hours that a purpose allows, in words. @param {{purpose: string}} props */
export function PurposeHours({ purpose }) {
  const rules = useData("/api/calling-hours");
  const hours = rules.data?.hours?.[purpose];
  if (!rules.data) return rules.problem ? html`<p class="small muted">${t("campaigns.when.hours_unknown")}</p>` : null;
  const closed = rules.data.closed_days.filter((/** @type {any} */ one) => one.purposes.includes(purpose));
  return html`<p class="small muted">${rules.data.calling_hours === "off" ? t("campaigns.when.hours_off") : hours ? t("campaigns.when.hours", { start: hours.start, end: hours.end }) : t("campaigns.when.hours_unknown")}
    ${closed.length && rules.data.calling_hours !== "off" ? html` ${t("campaigns.when.closed")} ${closed.map((/** @type {any} */ one) => `${day(one.date)} (${one.name})`).join(", ")}.` : null}</p>`;
}

/** @param {Props} props */
export function PurposeFields({ plan, set, wrong, campaign }) {
  return html`<div class="stack">
    <${Field} label=${t("campaigns.when.name")} value=${plan.name} onInput=${(/** @type {string} */ name) => set({ name })} required maxlength="200" error=${wrong["name"]} dir="auto" />
    ${campaign ? null : html`<fieldset class="stack tight"><legend class="small strong">${t("campaigns.when.purpose")}</legend>
      ${PURPOSES.map((purpose) => html`<label key=${purpose} class="check"><input type="radio" name="purpose" checked=${plan.purpose === purpose} onChange=${() => set({ purpose })} /><span>${named("campaigns.purposes", purpose)}<span class="sub xs muted">${t(`campaigns.when.purposes.${purpose}`)}</span></span></label>`)}</fieldset>`}
    <${PurposeHours} purpose=${plan.purpose} /></div>`;
}

/** @param {Props} props */
export function WindowFields({ plan, set, wrong, campaign }) {
  const toggle = (/** @type {string} */ one) => set({ days: plan.days.includes(one) ? plan.days.filter((other) => other !== one) : [...plan.days, one] });
  const hasStarted = Boolean(campaign?.started_at);
  return html`<div class="stack">
    <${Check} label=${t("campaigns.when.own_window")} isOn=${plan.has_window} onChange=${(/** @type {boolean} */ has_window) => set({ has_window })} />
    ${plan.has_window ? html`<div class="stack">
      <div class="chips" role="group" aria-label=${t("campaigns.when.days")}>${WEEKDAYS.map((one) => html`<button key=${one} type="button" class="chip" aria-pressed=${String(plan.days.includes(one))} onClick=${() => toggle(one)}>${named("campaigns.weekdays", one)}</button>`)}</div>
      ${wrong["days"] ? html`<span class="error xs" role="alert">${wrong["days"]}</span>` : null}
      <div class="form-grid">
        <${Field} label=${t("campaigns.when.start")} type="time" value=${plan.start} onInput=${(/** @type {string} */ start) => set({ start })} />
        <${Field} label=${t("campaigns.when.end")} type="time" value=${plan.end} onInput=${(/** @type {string} */ end) => set({ end })} error=${wrong["end"]} />
        <${Field} label=${t("campaigns.when.timezone")} value=${plan.timezone} onInput=${(/** @type {string} */ timezone) => set({ timezone })} list="timezones" hint=${t("campaigns.when.timezone_hint")} error=${wrong["window"]} />
        <datalist id="timezones">${["Asia/Kolkata", "Asia/Dubai", "Asia/Singapore", "Europe/London", "America/New_York"].map((one) => html`<option key=${one} value=${one} />`)}</datalist>
      </div></div>` : null}
    <div class="form-grid">
      ${hasStarted ? null : html`<${Field} label=${t("campaigns.when.start_at")} type="datetime-local" hint=${t("campaigns.when.start_hint")} value=${plan.start_at} onInput=${(/** @type {string} */ start_at) => set({ start_at })} error=${wrong["start_at"]} />`}
      <${Field} label=${t("campaigns.when.end_at")} type="datetime-local" hint=${t("campaigns.when.end_hint")} value=${plan.end_at} onInput=${(/** @type {string} */ end_at) => set({ end_at })} error=${wrong["end_at"]} />
    </div></div>`;
}

/** @param {Props} props */
export function RetryFields({ plan, set, wrong }) {
  const delay = (/** @type {string} */ name, /** @type {string} */ value) => set({ delays: { ...plan.delays, [name]: value } });
  return html`<div class="stack">
    <div class="form-grid"><${Field} label=${t("campaigns.when.attempts")} hint=${t("campaigns.when.attempts_hint")} inputmode="numeric" value=${plan.max_attempts} onInput=${(/** @type {string} */ max_attempts) => set({ max_attempts })} error=${wrong["max_attempts"]} /></div>
    ${Number(plan.max_attempts) > 1 ? html`<p class="small muted">${t("campaigns.when.delays")}</p><div class="form-grid">
      ${RETRIED.map((name) => html`<${Field} key=${name} label=${t(`campaigns.when.after.${name}`)} value=${plan.delays[name] ?? ""} onInput=${(/** @type {string} */ value) => delay(name, value)} placeholder=${t("campaigns.when.never")} inputmode="numeric" error=${wrong[`delays.${name}`]} />`)}</div>` : null}
  </div>`;
}

/** @param {Props} props */
export function PaceFields({ plan, set, wrong, campaign }) {
  const field = (/** @type {keyof Plan & string} */ name, /** @type {any} */ more = {}) => html`<${Field} label=${t(`campaigns.when.${name}`)} hint=${t(`campaigns.when.${name}_hint`)} value=${plan[name]} onInput=${(/** @type {string} */ value) => set({ [name]: value })} error=${wrong[name]} ...${more} />`;
  return html`<div class="form-grid">
    ${field("budget", { inputmode: "decimal" })}
    ${field("max_concurrent", { inputmode: "numeric" })}
    ${field("calls_per_minute", { inputmode: "numeric" })}
    ${field("caller_ids", {})}
    ${field("expected_duration_seconds", { inputmode: "numeric" })}
    ${campaign ? null : field("skip_called_within_days", { inputmode: "numeric" })}
  </div>`;
}
