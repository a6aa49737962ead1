// @ts-check
/** Change the calling rules: hours by purpose and holidays, as a new version with its reason. */

import { request } from "../core/api.js";
import { useAction } from "../core/data.js";
import { dateInIndia } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { Difference } from "./admin_difference.js";
import { Button, Check, Field } from "./field.js";
import { Failed } from "./states.js";
import { say } from "./toast.js";

export const PURPOSES = ["promotional", "service", "transactional", "collection"];

/** What a change of rules is shown as: hours as '09:00 to 21:00', holidays by date. */
export function comparable(/** @type {any} */ rules) {
  if (!rules) return null;
  return {
    hours: Object.fromEntries(Object.entries(rules.hours).map(([purpose, one]) => [purpose, `${/** @type {any} */ (one).start}–${/** @type {any} */ (one).end}`])),
    holidays: Object.fromEntries(rules.holidays.map((/** @type {any} */ one) => [one.date, one.purposes.length === PURPOSES.length ? one.name : `${one.name} (${one.purposes.map((/** @type {string} */ purpose) => named("rules.purposes", purpose)).join(", ")})`])),
  };
}

/** Why the hours of a purpose cannot be; null when they can. */
function wrongHours(/** @type {any} */ hours, /** @type {any} */ widest) {
  if (!hours.start || !hours.end || hours.start >= hours.end) return t("rules.order");
  return hours.start < widest.start || hours.end > widest.end ? t("rules.too_wide", widest) : null;
}

/** @param {{hours: any, widest: any, onChange: (hours: any) => void}} props */
function Hours({ hours, widest, onChange }) {
  return PURPOSES.map((purpose) => html`<fieldset key=${purpose} class="hours">
    <legend class="hidden-text">${named("rules.purposes", purpose)}</legend><strong>${named("rules.purposes", purpose)}</strong>
    <${Field} label=${t("rules.start")} type="time" value=${hours[purpose].start} onInput=${(/** @type {string} */ start) => onChange({ ...hours, [purpose]: { ...hours[purpose], start } })} required />
    <${Field} label=${t("rules.end")} type="time" value=${hours[purpose].end} onInput=${(/** @type {string} */ end) => onChange({ ...hours, [purpose]: { ...hours[purpose], end } })} required />
    <span class=${`small ${wrongHours(hours[purpose], widest[purpose]) ? "bad-text" : "muted"}`}>${wrongHours(hours[purpose], widest[purpose]) ?? t("rules.widest", widest[purpose])}</span>
  </fieldset>`);
}

/** @param {{holidays: any[], onChange: (holidays: any[]) => void}} props */
function Holidays({ holidays, onChange }) {
  const [date, setDate] = useState("");
  const [name, setName] = useState("");
  const [purposes, setPurposes] = useState(PURPOSES);
  const off = !date || !name.trim() ? t("rules.day_missing") : !purposes.length ? t("rules.purpose_missing") : holidays.some((one) => one.date === date) ? t("rules.day_twice") : null;
  const add = () => {
    onChange([...holidays, { date, name: name.trim(), purposes }].sort((a, b) => a.date.localeCompare(b.date)));
    setDate("");
    setName("");
    setPurposes(PURPOSES);
  };
  return html`<div class="stack"><ul class="plain">${holidays.map((one) => html`<li key=${one.date} class="row spread"><span><span class="num">${one.date}</span> · <bdi>${one.name}</bdi>
        <span class="sub small muted">${one.purposes.length === PURPOSES.length ? t("rules.for_all") : one.purposes.map((/** @type {string} */ purpose) => named("rules.purposes", purpose)).join(", ")}</span></span>
      <${Button} kind="quiet" onClick=${() => onChange(holidays.filter((other) => other !== one))}>${t("rules.remove", { day: one.date })}<//></li>`)}</ul>
    <div class="filters"><${Field} label=${t("rules.day")} type="date" value=${date} min=${dateInIndia()} onInput=${setDate} /><${Field} label=${t("rules.name")} value=${name} onInput=${setName} maxlength="100" /></div>
    <div class="row">${PURPOSES.map((purpose) => html`<${Check} key=${purpose} label=${named("rules.purposes", purpose)} isOn=${purposes.includes(purpose)} onChange=${(/** @type {boolean} */ isOn) => setPurposes(isOn ? [...purposes, purpose] : purposes.filter((one) => one !== purpose))} />`)}</div>
    <${Button} off=${off} onClick=${add}>${t("rules.add")}<//></div>`;
}

/** @param {{rules: any, onClose: () => void, onDone: (rules: any) => void}} props */
export function ChangeRules({ rules, onClose, onDone }) {
  const [hours, setHours] = useState(rules.hours);
  const [holidays, setHolidays] = useState(rules.holidays);
  const [note, setNote] = useState("");
  const deed = useAction(() => request("PUT", "/api/admin/calling-rules", { body: { version: rules.version, hours, holidays, note: note.trim() } }));
  const wrong = PURPOSES.some((purpose) => wrongHours(hours[purpose], rules.widest_hours[purpose]));
  const isSame = JSON.stringify(comparable({ hours, holidays })) === JSON.stringify(comparable(rules));
  const off = wrong ? t("rules.hours_wrong") : isSame ? t("rules.same") : note.trim() ? null : t("fields.reason_missing");
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (off) return;
    const answer = await deed.run();
    if (!answer) return;
    say(t("rules.done", { version: answer.version }));
    onDone(answer);
  };
  return html`<form class="card" onSubmit=${send}><header><h2>${t("rules.change", { version: rules.version + 1 })}</h2></header><div class="body stack">
    <h3>${t("rules.hours")}</h3><${Hours} hours=${hours} widest=${rules.widest_hours} onChange=${setHours} />
    <h3>${t("rules.holidays")}</h3><${Holidays} holidays=${holidays} onChange=${setHolidays} />
    ${isSame ? null : html`<h3>${t("rules.what_changes")}</h3><${Difference} before=${comparable(rules)} after=${comparable({ hours, holidays })} />`}
    <${Field} label=${t("fields.reason")} hint=${t("rules.note_hint")} value=${note} onInput=${setNote} maxlength="500" required />
    <p class="small muted">${t("rules.in_force_hint")}</p>
    ${deed.problem ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${deed.isBusy} off=${off}>${t("rules.put", { version: rules.version + 1 })}<//><${Button} kind="quiet" onClick=${onClose}>${t("actions.cancel")}<//></div>
  </div></form>`;
}
