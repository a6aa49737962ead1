// @ts-check
/** One call: how it stands, what happened, what it costs and why. */

import { CallFigures } from "../components/call_live.js";
import { roundly } from "../components/call_price.js";
import { CallTag, isOver, isSettled, meaningOf, reasonOf } from "../components/call_state.js";
import { Timeline } from "../components/call_timeline.js";
import { Button } from "../components/field.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/shell.js";
import { Failed, Shown } from "../components/states.js";
import { Facts } from "../components/table.js";
import { post } from "../core/api.js";
import { useAction, useData } from "../core/data.js";
import { day, money, paise, phone, shortId, time } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { isAdmin, isStaff, me } from "../core/session.js";
import { named, t } from "../core/texts.js";

const POLL_MS = 5_000;

/** @param {{id: string}} props */
export default function CallPage({ id }) {
  // The stream tells what changes; asking again is for when it cannot.
  const [isOpen, setIsOpen] = useState(true);
  const call = useData(`/api/calls/${encodeURIComponent(id)}`, {}, {
    live: ["call", "balance"],
    matches: (told) => told.call_id === undefined || told.call_id === id,
    every_ms: isOpen ? POLL_MS : 0,
  });
  useEffect(() => {
    if (call.data) setIsOpen(!isOver(call.data) || !isSettled(call.data));
  }, [call.data]);
  const entries = useData(call.data ? "/api/transactions" : null, { call_id: id, limit: 10 }, { live: ["balance"] });
  const title = call.data ? t("calls.call_to", { number: phone(call.data.to) }) : t("calls.call");
  return html`<${Page} title=${title} page=${html`<${Shown} of=${call}>${(/** @type {any} */ found) => html`<${Call} call=${found} entries=${entries} reload=${call.reload} />`}<//>`} />`;
}

/** @param {{call: any, entries: any, reload: () => void}} props */
function Call({ call, entries, reload }) {
  return html`<${Head} call=${call} reload=${reload} />
    <${Meaning} call=${call} />
    <div class="grid g2 top-row">
      <section class="card"><header><h2>${t("calls.what_happened")}</h2><span class="small muted">${t("calls.day_ist", { day: day(call.created_at) })}</span></header>
        <div class="body"><${Timeline} call=${call} transactions=${entries.data?.transactions} />${entries.problem ? html`<${Failed} problem=${entries.problem} retry=${entries.reload} />` : null}</div></section>
      <div class="stack"><section class="card balance"><div class="body stack" aria-live="off"><${CallFigures} call=${call} /></div></section>
        <${About} call=${call} /></div>
    </div>`;
}

/** How it stands, and the one thing that can be done now. @param {{call: any, reload: () => void}} props */
function Head({ call, reload }) {
  const hangUp = useAction(() => post(`/api/calls/${encodeURIComponent(call.call_id)}/hangup`).then((answer) => { reload(); return answer; }));
  const isMine = call.user_id === me.value?.id;
  const mayEnd = isMine || isAdmin.value;
  const [isAsked, setIsAsked] = useState(false);
  const end = async () => {
    if ((await hangUp.run()) !== undefined) setIsAsked(true);
  };
  return html`<div class="row spread"><div class="row"><${CallTag} call=${call} /><span class="muted small">${phone(call.to)} · ${named("calls.networks", call.provider)} · <span class="mono">${shortId(call.call_id)}</span></span></div>
    <div class="row">${isOver(call)
      ? isStaff.value ? null : html`<a class="btn" href=${again(call)}><${Icon} name="phone" />${t("calls.call_again")}</a>`
      : mayEnd ? html`<${Button} kind="danger" isBusy=${hangUp.isBusy} off=${isAsked ? t("calls.hanging_up") : null} onClick=${end}>${t(call.status === "in_progress" ? "calls.hang_up" : "calls.stop_it")}<//>` : null}</div></div>
    ${hangUp.problem ? html`<${Failed} problem=${hangUp.problem} retry=${end} />` : null}`;
}
/** The form of a new call with what this one had. */
function again(/** @type {any} */ call) {
  const had = new URLSearchParams({ to: call.to });
  if (call.connect_to) had.set("connect_to", call.connect_to);
  return `/calls/new?${had}`;
}

/** Where a state needs a sentence: why it failed, what it waits for. @param {{call: any}} props */
function Meaning({ call }) {
  const reason = isOver(call) ? reasonOf(call) : null;
  const meaning = meaningOf(call);
  if (!reason && !meaning) return null;
  const kind = call.status === "failed" || call.billing_status === "review" ? "bad" : call.status === "unknown" ? "" : "plain";
  return html`<div class=${`notice ${kind}`} role="status"><div>${reason ? html`<strong>${reason}</strong> ` : null}${meaning ? html`<span class="small">${meaning}</span>` : null}</div></div>`;
}

/** What the call was, and where it leads. @param {{call: any}} props */
function About({ call }) {
  /** @type {[string, any][]} */
  const rows = [[t("calls.number"), html`<a href=${`/numbers/${encodeURIComponent(call.to)}`}>${phone(call.to)}</a>`]];
  if (call.connect_to) rows.push([t("calls.connected_to"), html`<a href=${`/numbers/${encodeURIComponent(call.connect_to)}`}>${phone(call.connect_to)}</a>`]);
  rows.push([t("calls.rate"), call.legs.length > 1 ? t("calls.both_legs", { rate: money(paise(call.rate_per_minute)) }) : t("calls.leg_price", { rate: money(paise(call.rate_per_minute)), source: named("calls.sources", call.rate_source) })]);
  if (call.campaign_id) rows.push([t("nav.campaigns"), html`<a class="mono" href=${`/campaigns/${encodeURIComponent(call.campaign_id)}`}>${shortId(call.campaign_id)}</a>`]);
  if (call.answered_by || call.machine_detection) rows.push([t("calls.answered_by"), call.answered_by ? named("calls.who", call.answered_by) : t(call.answered_at ? "calls.who_unknown" : "calls.who_not_yet")]);
  if (call.machine_detection) rows.push([t("calls.machine_detection"), named("calls.machines", call.machine_detection)]);
  if (call.language) rows.push([t("calls.language"), named("calls.languages", call.language)]);
  if (call.keys) rows.push([t("calls.keys"), html`<bdi>${Object.entries(call.keys).map(([key, meaning]) => `${key} = ${meaning}`).join(", ")}</bdi>`]);
  if (call.keys) rows.push([t("calls.pressed"), call.pressed ? html`<bdi>${call.pressed.key} = ${call.pressed.meaning}</bdi>` : t("calls.none_pressed")]);
  rows.push([t("calls.longest"), roundly(call.max_duration_seconds)]);
  rows.push([t("calls.asked_at"), time(call.created_at, { seconds: true })]);
  if (isStaff.value && call.user_id !== me.value?.id) rows.push([t("roles.user"), html`<a class="mono" href=${`/admin/users/${encodeURIComponent(call.user_id)}`}>${shortId(call.user_id)}</a>`]);
  return html`<section class="card"><header><h2>${t("calls.about")}</h2><a class="small" href=${`/numbers/${encodeURIComponent(call.to)}`}>${t("calls.why_called")}</a></header>
    <div class="body stack"><${Facts} rows=${rows} /><p class="xs muted mono"><bdi>${call.call_id}</bdi></p></div></section>`;
}
