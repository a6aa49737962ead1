// @ts-check
/** One number: why it was called, by what, and what people said about it. */

import { BlockNumber, RecordComplaint } from "../components/call_number_deeds.js";
import { CallTag } from "../components/call_state.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/shell.js";
import { Empty, Shown, Tag } from "../components/states.js";
import { Table } from "../components/table.js";
import { say } from "../components/toast.js";
import { useData } from "../core/data.js";
import { count, day, duration, phone, shortId, time } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { query } from "../core/router.js";
import { isStaff, role } from "../core/session.js";
import { named, t } from "../core/texts.js";

const CALLS_MAX = 200;

/** @param {{number: string}} props */
export default function NumberPage({ number }) {
  const user_id = isStaff.value ? query.value.get("user_id") : null;
  const history = useData(`/api/numbers/${encodeURIComponent(number)}/history`, { user_id }, { live: ["call"], matches: (told) => told.to === undefined || told.to.endsWith(number.replace(/^\+/, "")) });
  return html`<${Page} title=${phone(history.data?.number ?? number)} page=${html`<${Shown} of=${history} lines=${8}>${(/** @type {any} */ found) => html`<${Number_} history=${found} reload=${history.reload} />`}<//>`} />`;
}

/** @param {{history: any, reload: () => void}} props */
function Number_({ history, reload }) {
  const [open, setOpen] = useState("");
  const [standing, setStanding] = useState(/** @type {any} */ (null));
  const mayAct = role.value !== "operator";
  const isOwnListed = history.do_not_call.some((/** @type {any} */ one) => one.list === "own");
  const listed = history.do_not_call.length > 0;
  const done = (/** @type {string} */ text) => {
    setOpen("");
    say(text);
    reload();
  };
  return html`<div class="row spread"><div class="row">${listed ? html`<${Tag} kind="bad">${t("calls.not_called_any_more")}<//>` : html`<${Tag} kind="ok">${t("calls.may_be_called")}<//>`}<span class="small muted">${summary(history)}</span></div>
      ${mayAct ? html`<div class="row">${listed ? null : html`<a class="btn" href=${`/calls/new?to=${encodeURIComponent(history.number)}`}><${Icon} name="phone" />${t("calls.call_it")}</a>`}
        ${isOwnListed && !isStaff.value ? html`<a class="btn" href="/do-not-call">${t("calls.your_list")}</a>` : html`<button class="btn danger" type="button" onClick=${() => setOpen("block")}><${Icon} name="block" />${t("calls.block")}</button>`}
        <button class="btn" type="button" onClick=${() => setOpen("complain")}><${Icon} name="warn" />${t("calls.complain")}</button></div>` : null}</div>
    ${standing ? html`<div class=${`notice ${standing.level === "limit_reached" ? "bad" : standing.level === "ok" ? "plain" : ""}`} role="status"><div><strong>${t("calls.complaints_now", { count: standing.complaints_in_ten_days, limit: standing.limit })}</strong><span class="sub small">${standing.what_follows}</span></div></div>` : null}
    <div class="grid g2 top-row"><${Why} history=${history} /><div class="stack"><${Listings} listings=${history.do_not_call} /><${Complaints} complaints=${history.complaints} />
      ${history.scrub_verdicts.length ? html`<${Verdicts} verdicts=${history.scrub_verdicts} />` : null}</div></div>
    <${Calls} calls=${history.calls} number=${history.number} />
    ${open === "block" ? html`<${BlockNumber} number=${history.number} onClose=${() => setOpen("")} onDone=${() => done(t("calls.blocked", { number: phone(history.number) }))} />` : null}
    ${open === "complain" ? html`<${RecordComplaint} number=${history.number} onClose=${() => setOpen("")} onDone=${(/** @type {any} */ answer) => { setStanding(answer); done(t("calls.complaint_recorded")); }} />` : null}`;
}

/** How often, and when last. */
function summary(/** @type {any} */ history) {
  const { calls } = history;
  if (calls.length === 0) return t("calls.never_called");
  const times = calls.length >= CALLS_MAX ? `${count(CALLS_MAX)}+` : count(calls.length);
  return t("calls.called_times", { count: calls.length, times, last: time(calls[0].created_at) });
}

/** By which list and with which consent it was called. @param {{history: any}} props */
function Why({ history }) {
  const single = history.calls.filter((/** @type {any} */ call) => !call.campaign_id).length;
  if (history.calls.length === 0) return html`<section class="card"><header><h2>${t("calls.why_called")}</h2></header><${Empty} icon="phone" title=${t("calls.never_called")} /></section>`;
  return html`<section class="card"><header><h2>${t("calls.why_called")}</h2></header><div class="body stack">
    ${single ? html`<p>${t("calls.single_calls", { count: single })}</p>` : null}
    ${history.campaigns.map((/** @type {any} */ campaign) => html`<${Campaign} key=${campaign.campaign_id} campaign=${campaign} />`)}
  </div></section>`;
}

/** @param {{campaign: any}} props */
function Campaign({ campaign }) {
  const consent = Object.entries(campaign.consent ?? {});
  const cells = Object.entries(campaign.cells ?? {}).filter(([name]) => !(name in (campaign.consent ?? {})));
  return html`<div class="stack tight"><div class="row spread"><a href=${`/campaigns/${encodeURIComponent(campaign.campaign_id)}`}><bdi>${campaign.name}</bdi></a><${Tag}>${named("calls.purposes", campaign.purpose)}<//></div>
    <dl class="facts small">
      <div><dt>${t("calls.list_row")}</dt><dd>${campaign.row === null ? "—" : t("calls.list_row_at", { row: campaign.row })}${cells.length ? html`<span class="sub muted"><bdi>${cells.map(([name, value]) => `${name}: ${value}`).join(" · ")}</bdi></span>` : null}</dd></div>
      <div><dt>${t("calls.consent")}</dt><dd>${consent.length ? html`<bdi>${consent.map(([name, value]) => `${name}: ${value}`).join(" · ")}</bdi>` : t("calls.no_consent")}</dd></div>
      <div><dt>${t("calls.attempts")}</dt><dd class="num">${count(campaign.attempts)}</dd></div>
      <div><dt>${t("calls.hours_of")}</dt><dd>${hours(campaign.window)}</dd></div>
      <div><dt>${t("calls.started")}</dt><dd>${time(campaign.started_at)}</dd></div>
    </dl></div>`;
}

function hours(/** @type {any} */ window) {
  return window ? t("calls.hours_from_to", { start: window.start, end: window.end, zone: window.timezone }) : t("calls.hours_of_purpose");
}

/** @param {{listings: any[]}} props */
function Listings({ listings }) {
  return html`<section class="card"><header><h2>${t("nav.do_not_call")}</h2></header><div class="body stack">
    ${listings.length ? listings.map((one, i) => html`<div key=${i}><${Tag} kind="bad">${named("calls.lists", one.list === "own" && isStaff.value ? "of_user" : one.list)}<//><span class="sub small muted">${t("calls.listed_since", { time: time(one.added_at), source: named("calls.list_sources", one.source) })}</span><${AddedBy} one=${one} /></div>`) : html`<p class="small muted">${t("calls.on_no_list")}</p>`}
  </div></section>`;
}

/** Who put it there: a person, or the call in which a key was pressed. @param {{one: any}} props */
function AddedBy({ one }) {
  if (String(one.added_by ?? "").startsWith("call_")) return html`<span class="sub small"><a href=${`/calls/${encodeURIComponent(one.added_by)}`}>${t("calls.in_this_call")}</a></span>`;
  return html`${one.note ? html`<span class="sub small"><bdi>${one.note}</bdi></span>` : null}${one.added_by ? html`<span class="sub xs muted"><bdi>${one.added_by}</bdi></span>` : null}`;
}

/** @param {{complaints: any[]}} props */
function Complaints({ complaints }) {
  return html`<section class="card"><header><h2>${t("calls.complaints")}</h2></header><div class="body stack">
    ${complaints.length ? complaints.map((one) => html`<div key=${one.complaint_id}><b>${day(one.received_at)}</b> <span class="muted small">${named("calls.complaint_sources", one.source)} · <span class="mono">${shortId(one.complaint_id)}</span></span>${one.text ? html`<span class="sub small"><bdi>${one.text}</bdi></span>` : null}</div>`) : html`<p class="small muted">${t("calls.no_complaints")}</p>`}
  </div></section>`;
}

/** @param {{verdicts: any[]}} props */
function Verdicts({ verdicts }) {
  return html`<section class="card"><header><h2>${t("calls.scrubbed")}</h2></header><div class="body stack">
    ${verdicts.map((one, i) => html`<div key=${i}><div class="row spread"><span>${named("calls.purposes", one.purpose)}</span><${Tag} kind=${one.allowed ? "ok" : "bad"}>${t(one.allowed ? "calls.scrub_allowed" : "calls.scrub_refused")}<//></div><span class="sub small muted">${t("calls.scrub_checked", { time: time(one.checked_at), until: time(one.valid_until) })}${one.reason ? ` · ${one.reason}` : ""}</span></div>`)}
  </div></section>`;
}

/** @param {{calls: any[], number: string}} props */
function Calls({ calls, number }) {
  if (calls.length === 0) return null;
  const columns = [
    { title: t("calls.asked_at"), show: (/** @type {any} */ call) => html`<a class="num" href=${`/calls/${encodeURIComponent(call.call_id)}`}>${time(call.created_at)}</a>` },
    { title: t("calls.state"), show: (/** @type {any} */ call) => html`<${CallTag} call=${call} />` },
    { title: t("calls.by_what"), show: (/** @type {any} */ call) => html`${call.campaign_id ? html`<a href=${`/campaigns/${encodeURIComponent(call.campaign_id)}`}><bdi>${call.campaign_name ?? shortId(call.campaign_id)}</bdi></a>` : t("calls.single_call")}<span class="sub">${named("calls.purposes", call.purpose)}${call.pressed ? ` · ${t("calls.steps.pressed", { key: call.pressed.key })}` : ""}</span>` },
    { title: t("calls.shown_number"), isMinor: true, show: (/** @type {any} */ call) => html`<span class="num">${call.caller_id ? phone(call.caller_id) : t("calls.default_number")}</span>` },
    { title: t("calls.talked"), isNumber: true, show: (/** @type {any} */ call) => (call.duration_seconds > 0 ? duration(call.duration_seconds) : "—") },
  ];
  return html`<section class="card"><header><h2>${t("calls.calls_to_it")}</h2>${calls.length >= CALLS_MAX ? html`<a class="small" href=${`/calls?number=${encodeURIComponent(number)}`}>${t("calls.show_all")}</a>` : null}</header>
    <${Table} caption=${t("calls.calls_to_it")} columns=${columns} rows=${calls} id=${(/** @type {any} */ call) => call.call_id} /></section>`;
}
