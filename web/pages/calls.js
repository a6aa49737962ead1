// @ts-check
/** Calls: all of them, newest first, as they change; the filter stands in the URL. */

import { CallCost, CallTag, isTalking } from "../components/call_state.js";
import { Button, Chips, Field } from "../components/field.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/shell.js";
import { Empty, Shown } from "../components/states.js";
import { Pages, Table } from "../components/table.js";
import { address } from "../core/api.js";
import { useData } from "../core/data.js";
import { duration, phone, shortId, time } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { query, setQuery } from "../core/router.js";
import { isStaff } from "../core/session.js";
import { named, t } from "../core/texts.js";

const SHOWN = ["in_progress", "completed", "no_answer", "busy", "failed", "canceled"];

export default function CallsPage() {
  const asked = query.value;
  const live = asked.get("live") === "true";
  const filter = { status: asked.get("status"), number: asked.get("number"), live: live ? "true" : null, user_id: isStaff.value ? asked.get("user_id") : null };
  const isFiltered = Object.values(filter).some(Boolean);
  const calls = useData("/api/calls", { ...filter, cursor: asked.get("cursor"), limit: 50 }, { live: asked.get("cursor") ? [] : ["call"] });
  return html`<${Page} title=${t("nav.calls")} page=${html`
    <div class="row spread top-row"><${Filters} /><div class="row"><a class="btn" href=${address("/api/calls/download", { ...filter, excel: "true" })} download><${Icon} name="down" />${t("actions.csv")}</a>${isStaff.value ? null : html`<a class="btn primary" href="/calls/new"><${Icon} name="phone" />${t("calls.place")}</a>`}</div></div>
    <section class="card"><${Shown} of=${calls} lines=${8}>${(/** @type {any} */ found) => found.calls.length
      ? html`<${List} calls=${found.calls} /><${Pages} next=${found.next_cursor} />`
      : html`<${Nothing} isFiltered=${isFiltered} />`}<//></section>`} />`;
}

function Filters() {
  const asked = query.value;
  const now = asked.get("live") === "true" ? "live" : (asked.get("status") ?? "");
  const choose = (/** @type {string} */ value) => setQuery({ status: value === "live" ? null : value, live: value === "live" ? "true" : null, cursor: null });
  /** @type {[string, string][]} */
  const options = [["", t("actions.all")], ["live", t("calls.live")], ...SHOWN.map((one) => /** @type {[string, string]} */ ([one, named("calls.statuses", one)]))];
  if (now && !options.some(([key]) => key === now)) options.push([now, named("calls.statuses", now)]);
  return html`<div class="stack tight"><${Chips} label=${t("calls.state")} value=${now} options=${options} onChoose=${choose} /><${NumberFilter} /></div>`;
}

/** One number's calls. */
function NumberFilter() {
  const given = query.value.get("number") ?? "";
  const [text, setText] = useState(given);
  useEffect(() => setText(given), [given]);
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    setQuery({ number: text.trim() || null, cursor: null });
  };
  const user = isStaff.value ? query.value.get("user_id") : null;
  return html`<form class="filters" role="search" onSubmit=${send}>
    <${Field} label=${t("calls.to_number")} value=${text} onInput=${setText} type="search" inputmode="tel" autocomplete="off" placeholder="+91 98765 43210" maxlength="40" />
    <${Button} type="submit">${t("actions.show")}<//>
    ${given ? html`<a class="btn quiet" href=${`/numbers/${encodeURIComponent(given)}`}>${t("calls.everything_about")}</a>` : null}
    ${user ? html`<button class="chip" type="button" aria-pressed="true" onClick=${() => setQuery({ user_id: null, cursor: null })}>${t("roles.user")} <span class="mono">${shortId(user)}</span> ✕</button>` : null}
  </form>`;
}

/** @param {{calls: any[]}} props */
function List({ calls }) {
  const columns = [
    { title: t("calls.number"), show: (/** @type {any} */ call) => html`<a class="num" href=${`/calls/${encodeURIComponent(call.call_id)}`}>${phone(call.to)}</a>${call.connect_to ? html`<span class="sub num">${t("calls.with", { number: phone(call.connect_to) })}</span>` : null}${call.campaign_id ? html`<span class="sub"><a href=${`/campaigns/${encodeURIComponent(call.campaign_id)}`}>${t("calls.of_campaign")}</a></span>` : null}` },
    { title: t("calls.state"), show: (/** @type {any} */ call) => html`<${CallTag} call=${call} />${call.answered_by === "machine" ? html`<span class="sub">${t("calls.who.machine")}</span>` : null}` },
    ...(isStaff.value ? [{ title: t("roles.user"), isMinor: true, show: (/** @type {any} */ call) => html`<a class="mono" href=${`/admin/users/${encodeURIComponent(call.user_id)}`}>${shortId(call.user_id)}</a>` }] : []),
    { title: t("calls.asked_at"), isMinor: true, show: (/** @type {any} */ call) => html`<span class="num">${time(call.created_at)}</span>` },
    { title: t("calls.talked"), isNumber: true, isMinor: true, show: (/** @type {any} */ call) => (isTalking(call) ? t("calls.since", { time: time(call.answered_at).split(", ").at(-1) }) : call.duration_seconds > 0 ? duration(call.duration_seconds) : "—") },
    { title: t("calls.cost"), isNumber: true, show: (/** @type {any} */ call) => html`<${CallCost} call=${call} />` },
  ];
  return html`<${Table} caption=${t("nav.calls")} columns=${columns} rows=${calls} id=${(/** @type {any} */ call) => call.call_id} />`;
}

/** @param {{isFiltered: boolean}} props */
function Nothing({ isFiltered }) {
  if (isFiltered) return html`<${Empty} icon="search" title=${t("calls.none_like_this")}><button class="btn" type="button" onClick=${() => setQuery({ status: null, live: null, number: null, user_id: null, cursor: null })}>${t("calls.show_all")}</button><//>`;
  return html`<${Empty} icon="phone" title=${t("calls.none_yet")}>${isStaff.value ? null : html`<span class="small">${t("calls.none_yet_hint")}</span><a class="btn" href="/calls/new">${t("calls.place")}</a>`}<//>`;
}
