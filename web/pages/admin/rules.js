// @ts-check
/** Calling rules: at what hours and on which days people are called, by purpose, in versions with who and why. */

import { Difference } from "../../components/admin_difference.js";
import { ChangeRules, comparable, PURPOSES } from "../../components/admin_rules.js";
import { Button } from "../../components/field.js";
import { Icon } from "../../components/icon.js";
import { Page } from "../../components/shell.js";
import { Empty, Shown, Tag } from "../../components/states.js";
import { Table } from "../../components/table.js";
import { useData } from "../../core/data.js";
import { count, dateInIndia, day, time } from "../../core/format.js";
import { html, useState } from "../../core/html.js";
import { isAdmin } from "../../core/session.js";
import { named, t } from "../../core/texts.js";

export default function RulesPage() {
  const of = useData("/api/admin/calling-rules");
  const [isChanging, setIsChanging] = useState(false);
  const rules = of.data;
  const button = isAdmin.value && rules && !isChanging ? html`<${Button} kind="primary" onClick=${() => setIsChanging(true)}>${t("rules.open")}<//>` : null;
  return html`<${Page} title=${t("nav.rules")} page=${html`<${Shown} of=${of} lines=${8}>${(/** @type {any} */ found) => html`
    ${found.calling_hours === "off" ? html`<div class="notice" role="status"><${Icon} name="warn" /><div><strong>${t("rules.off")}</strong><span class="sub small">${t("rules.off_hint")}</span></div></div>` : null}
    ${isChanging ? html`<${ChangeRules} key=${found.version} rules=${found} onClose=${() => setIsChanging(false)} onDone=${() => { setIsChanging(false); of.reload(); }} />` : html`<${InForce} rules=${found} />`}
    <${Versions} of=${found.versions} />`}<//>`}>${button}<//>`;
}

/** Where the hours lie within the day, as a bar of 24 hours. @param {{hours: any, widest: any}} props */
function Bar({ hours, widest }) {
  const at = (/** @type {string} */ text) => (Number(text.slice(0, 2)) + Number(text.slice(3)) / 60) / 24 * 240;
  return html`<svg class="day" viewBox="0 0 240 10" role="img" aria-label=${t("rules.from_to", hours)} preserveAspectRatio="none">
    <rect class="day-all" width="240" height="10" rx="2" /><rect class="day-widest" x=${at(widest.start)} width=${at(widest.end) - at(widest.start)} height="10" /><rect class="f1" x=${at(hours.start)} width=${at(hours.end) - at(hours.start)} height="10" /></svg>`;
}

/** @param {{rules: any}} props */
function InForce({ rules }) {
  const columns = [
    { title: t("rules.purpose"), show: (/** @type {string} */ purpose) => html`<strong class="nowrap">${named("rules.purposes", purpose)}</strong>` },
    { title: t("rules.hours"), show: (/** @type {string} */ purpose) => html`<span class="num nowrap">${t("rules.from_to", rules.hours[purpose])}</span>` },
    { title: t("rules.in_the_day"), isMinor: true, show: (/** @type {string} */ purpose) => html`<${Bar} hours=${rules.hours[purpose]} widest=${rules.widest_hours[purpose]} />` },
    { title: t("rules.law"), isMinor: true, show: (/** @type {string} */ purpose) => html`<span class="num muted nowrap">${t("rules.from_to", rules.widest_hours[purpose])}</span>` },
  ];
  return html`<div class="grid g2"><section class="card"><header><h2>${t("rules.in_force")}</h2><${Tag} kind="ok">${rules.version ? t("rules.version", { version: rules.version }) : t("rules.built_in")}<//></header>
      <${Table} caption=${t("rules.in_force")} columns=${columns} rows=${PURPOSES} id=${(/** @type {string} */ purpose) => purpose} />
      <div class="body"><p class="small muted">${t("rules.ring", { ring: count(rules.ring_seconds) })}</p></div></section>
    <section class="card"><header><h2>${t("rules.holidays")}</h2></header>${rules.holidays.length ? html`<div class="body"><ul class="plain">${rules.holidays.map((/** @type {any} */ one) => html`<li key=${one.date} class=${one.date < dateInIndia() ? "muted" : undefined}>
      <span class="row spread"><bdi>${one.name}</bdi><span class="num">${day(one.date)}</span></span><span class="sub small muted">${one.purposes.length === PURPOSES.length ? t("rules.for_all") : one.purposes.map((/** @type {string} */ purpose) => named("rules.purposes", purpose)).join(", ")}${one.date < dateInIndia() ? ` · ${t("rules.past")}` : ""}</span></li>`)}</ul></div>`
      : html`<${Empty} icon="check" title=${t("rules.no_holidays")}><span class="small">${t("rules.no_holidays_hint")}</span><//>`}</section></div>`;
}

/** The versions, the newest first, each with what it changed. @param {{of: any[]}} props */
function Versions({ of }) {
  const rows = of.map((one, i) => ({ ...one, earlier: of[i + 1] }));
  const columns = [
    { title: t("rules.which"), show: (/** @type {any} */ row) => html`<strong>${t("rules.version", { version: row.version })}</strong><span class="sub">${row.created_at ? time(row.created_at) : t("rules.built_in")}</span>` },
    { title: t("rules.who"), show: (/** @type {any} */ row) => html`<bdi>${row.created_at ? row.created_by : "—"}</bdi><span class="sub"><bdi>${row.note}</bdi></span>` },
    { title: t("rules.difference"), show: (/** @type {any} */ row) => (row.earlier ? html`<${Difference} before=${comparable(row.earlier)} after=${comparable(row)} />` : html`<span class="muted small">${t(row.version <= 1 ? "rules.first" : "rules.earlier_unknown")}</span>`) },
  ];
  return html`<section class="card log"><header><h2>${t("rules.versions")}</h2></header>${rows.length ? html`<${Table} caption=${t("rules.versions")} columns=${columns} rows=${rows} id=${(/** @type {any} */ row) => String(row.version)} />` : html`<${Empty} title=${t("rules.no_versions")}><span class="small">${t("rules.no_versions_hint")}</span><//>`}</section>`;
}
