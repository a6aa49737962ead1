// @ts-check
/** What a rate card would change: against the one in force, and for the calls of last week. */

import { count, money, paise, percent, duration, time } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { Chips } from "./field.js";
import { Icon } from "./icon.js";
import { Empty } from "./states.js";
import { Table } from "./table.js";

/** @param {{found: any}} props the answer of the preview */
export function Preview({ found }) {
  if (!found.ok) return html`<${Refused} found=${found} />`;
  return html`<${Week} week=${found.last_week} /><${Difference} difference=${found.difference} />
    <details><summary>${t("rates.first_rows", { count: found.rows.length, all: count(found.rows_count) })}</summary><${Rows} rows=${found.rows} /></details>`;
}

/** @param {{found: any}} props */
function Refused({ found }) {
  const columns = [
    { title: t("rates.line"), show: (/** @type {any} */ row) => count(row.row) },
    { title: t("rates.column"), show: (/** @type {any} */ row) => html`<bdi>${row.column || "—"}</bdi>` },
    { title: t("rates.value"), isMinor: true, show: (/** @type {any} */ row) => html`<bdi class="mono xs">${row.value}</bdi>` },
    { title: t("rates.mistake"), show: (/** @type {any} */ row) => html`<bdi>${row.message}</bdi>` },
  ];
  return html`<div class="notice bad" role="alert"><${Icon} name="warn" /><div><strong>${t("rates.refused", { count: found.errors_count })}</strong><span class="sub small">${t("rates.refused_why")}</span></div></div>
    <${Table} caption=${t("rates.mistakes")} columns=${columns} rows=${found.errors} id=${(/** @type {any} */ row) => `${row.row} ${row.column} ${row.code}`} />
    ${found.errors_count > found.errors.length ? html`<p class="small muted">${t("rates.only_first", { count: count(found.errors.length) })}</p>` : null}`;
}

/** @param {{week: any}} props */
function Week({ week }) {
  const then = paise(week.charged) ?? 0;
  const now = paise(week.with_card) ?? 0;
  const change = now - then;
  return html`<div class="stack tight"><h3>${t("rates.week")}</h3>
    ${week.calls === 0 ? html`<p class="small muted">${t("rates.week_nothing")}</p>` : html`<dl class="parts sum">
      <div><dt>${t("rates.week_then")}</dt><dd class="money">${money(then)}</dd></div>
      <div class="operator" aria-hidden="true"><dt></dt><dd>→</dd></div>
      <div><dt>${t("rates.week_now")}</dt><dd class="money">${money(now)}</dd></div>
      <div class="due"><dt>${t("rates.week_change")}</dt><dd class="money">${money(change, { sign: true })}${then > 0 ? ` (${change >= 0 ? "+" : "−"}${percent(Math.abs(change) / then)})` : ""}</dd></div></dl>
    <p class="small muted">${t(week.is_all ? "rates.week_of" : "rates.week_sample", { calls: count(week.calls), time: duration(week.seconds), since: time(week.since) })} ${week.own_rate ? t("rates.week_own", { count: count(week.own_rate) }) : ""}</p>`}
    ${week.unrated ? html`<div class="notice bad" role="status"><${Icon} name="warn" /><div><strong>${t("rates.week_unrated", { count: week.unrated })}</strong><span class="sub small">${t("rates.week_unrated_where", { prefixes: week.unrated_prefixes.map((/** @type {string} */ one) => `+${one}`).join(", ") })}</span></div></div>` : null}</div>`;
}

const terms = (/** @type {any} */ price) => {
  if (!price) return "—";
  const parts = [t("rates.a_minute", { rate: money(paise(price.rate_per_minute)) })];
  if (price.pulse_seconds || price.first_pulse_seconds) parts.push(`${price.first_pulse_seconds ?? price.pulse_seconds}/${price.pulse_seconds ?? "·"}`);
  if (price.minimum_seconds) parts.push(t("rates.at_least", { seconds: price.minimum_seconds }));
  if (price.connection_fee) parts.push(t("rates.plus_fee", { fee: money(paise(price.connection_fee)) }));
  if (price.valid_from || price.valid_until) parts.push(`${price.valid_from ?? "…"} – ${price.valid_until ?? "…"}`);
  return parts.join(" · ");
};

function changeOf(/** @type {any} */ row) {
  const old = paise(row.old?.rate_per_minute);
  const fresh = paise(row.new?.rate_per_minute);
  if (!old || fresh === null) return "—";
  if (old === fresh) return t("rates.terms_only");
  return `${fresh > old ? "+" : "−"}${percent(Math.abs(fresh - old) / old)}`;
}

/** @param {{difference: any}} props */
function Difference({ difference }) {
  const kinds = ["changed", "added", "removed"].filter((kind) => difference[`${kind}_count`] > 0);
  const [chosen, setChosen] = useState("");
  const kind = kinds.includes(chosen) ? chosen : kinds[0];
  const against = difference.version ? t("rates.against", { version: difference.version }) : t("rates.against_none");
  const columns = [
    { title: t("rates.prefix"), show: (/** @type {any} */ row) => html`<span class="mono">${row.prefix}</span><span class="sub"><bdi>${(row.new ?? row.old).destination}</bdi></span>` },
    ...(kind === "added" ? [] : [{ title: t("rates.old"), show: (/** @type {any} */ row) => terms(row.old) }]),
    ...(kind === "removed" ? [] : [{ title: t("rates.new"), show: (/** @type {any} */ row) => terms(row.new) }]),
    ...(kind === "changed" ? [{ title: t("rates.by"), isNumber: true, show: changeOf }] : []),
  ];
  return html`<div class="stack tight"><h3>${against}</h3>
    ${kind ? html`<${Chips} label=${against} value=${kind} options=${kinds.map((one) => [one, t(`rates.kinds.${one}`, { number: count(difference[`${one}_count`]) })])} onChoose=${setChosen} />
      <p class="small muted">${t("rates.same", { count: difference.same_count })} ${difference[`${kind}_count`] > difference[kind].length ? t("rates.only_shown", { count: count(difference[kind].length) }) : ""}</p>
      <${Table} caption=${against} columns=${columns} rows=${difference[kind]} id=${(/** @type {any} */ row) => row.prefix} />`
      : html`<${Empty} icon="check" title=${t("rates.no_difference")} />`}</div>`;
}

/** @param {{rows: any[]}} props */
function Rows({ rows }) {
  const columns = [
    { title: t("rates.prefix"), show: (/** @type {any} */ row) => html`<span class="mono">${row.prefix}</span><span class="sub"><bdi>${row.destination}</bdi></span>` },
    { title: t("rates.price"), show: terms },
  ];
  return html`<${Table} caption=${t("rates.rows")} columns=${columns} rows=${rows} id=${(/** @type {any} */ row) => `${row.prefix} ${row.valid_from}`} />`;
}
