// @ts-check
/** Who is on the list of a campaign and what became of them: page by page, whatever the length of the list. */

import { useData } from "../core/data.js";
import { count, duration, money, paise, phone, time } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { query, setQuery } from "../core/router.js";
import { named, t } from "../core/texts.js";
import { pathOf } from "./campaign_actions.js";
import { isOver } from "./campaign_status.js";
import { Chips } from "./field.js";
import { Empty, Shown, Tag } from "./states.js";
import { Pages, Table } from "./table.js";

const LIMIT = 25;
const READ_AGAIN_MS = 5_000;
const TYPED_MS = 400;
const STATES = ["answered", "in_call", "retry_wait", "pending", "no_answer", "busy", "failed", "skipped", "exhausted", "expired", "canceled"];
/** @type {Record<string, string>} */
const KINDS = { answered: "ok", in_call: "live", retry_wait: "warn", no_answer: "warn", busy: "warn", failed: "bad", exhausted: "bad", skipped: "", pending: "", expired: "", canceled: "" };

/** The state of one, with the reason where there is one. @param {{contact: any}} props */
function State({ contact }) {
  return html`<${Tag} kind=${KINDS[contact.state] ?? ""}>${named("campaigns.states", contact.state)}<//>${contact.reason ? html`<span class="sub">${named("campaigns.reasons", contact.reason)}</span>` : null}`;
}

function Search() {
  const now = query.value.get("q") ?? "";
  const [text, setText] = useState(now);
  useEffect(() => setText(now), [now]);
  useEffect(() => {
    if (text.trim() === now) return undefined;
    const timer = setTimeout(() => setQuery({ q: text.trim() || null, contacts: null }, { replace: true }), TYPED_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<input class="input contact-search" type="search" autocomplete="off" maxlength="100" aria-label=${t("campaigns.contacts.search")} placeholder=${t("campaigns.contacts.search")} value=${text} onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)} />`;
}

const columns = () => [
  { title: t("campaigns.contacts.number"), show: (/** @type {any} */ one) => html`<a class="num" href=${one.call_id ? `/calls/${encodeURIComponent(one.call_id)}` : `/numbers/${encodeURIComponent(one.to)}`}>${phone(one.to)}</a><span class="sub">${t("campaigns.contacts.row", { row: count(one.row) })}</span>` },
  { title: t("campaigns.contacts.result"), show: (/** @type {any} */ one) => html`<${State} contact=${one} />` },
  { title: t("campaigns.contacts.attempts"), isNumber: true, isMinor: true, show: (/** @type {any} */ one) => count(one.attempts) },
  { title: t("campaigns.contacts.talked"), isNumber: true, isMinor: true, show: (/** @type {any} */ one) => (one.duration_seconds ? duration(one.duration_seconds) : "—") },
  { title: t("campaigns.contacts.cost"), isNumber: true, show: (/** @type {any} */ one) => money(paise(one.cost)) },
  { title: t("campaigns.contacts.changed"), isNumber: true, isMinor: true, show: (/** @type {any} */ one) => time(one.updated_at, { seconds: true }) },
];

/** @param {{campaign: any}} props */
export function Contacts({ campaign }) {
  const state = query.value.get("state") ?? "";
  const q = query.value.get("q");
  const list = useData(`${pathOf(campaign)}/contacts`, { state, search: q, limit: LIMIT, cursor: query.value.get("contacts") }, {
    every_ms: campaign.status === "running" ? READ_AGAIN_MS : 0,
    live: ["campaign"], // a pause and the end are shown at once
    matches: (told) => told.campaign_id === campaign.campaign_id && told.status !== "running",
  });
  const { counts } = campaign;
  const choices = /** @type {[string, any][]} */ ([["", `${t("actions.all")} ${count(counts?.total)}`], ...STATES.filter((one) => counts?.[one] > 0 || one === state).map((one) => [one, `${named("campaigns.states", one)} ${count(counts?.[one])}`])]);
  return html`<section class="card" id="contacts"><header class="wrap"><h2>${t("campaigns.contacts.title")}</h2><${Search} /></header>
    <div class="body tight-bottom"><${Chips} label=${t("campaigns.filter")} value=${state} options=${choices} onChoose=${(/** @type {string} */ one) => setQuery({ state: one || null, contacts: null })} /></div>
    <${Shown} of=${list} lines=${8}>${(/** @type {any} */ data) => data.contacts.length
      ? html`<${Table} caption=${t("campaigns.contacts.title")} columns=${columns()} rows=${data.contacts} id=${(/** @type {any} */ one) => one.contact_id} /><${Pages} next=${data.next_cursor} name="contacts" />`
      : data.next_cursor
        ? html`<${Empty} icon="search" title=${t("campaigns.contacts.not_here")}><button type="button" class="btn" onClick=${() => setQuery({ contacts: data.next_cursor })}>${t("campaigns.contacts.look_on")}</button><//>`
        : html`<${Empty} icon="users" title=${t(q ? "campaigns.contacts.not_found" : state ? "campaigns.contacts.none_in" : "campaigns.contacts.none")}>${q || state ? html`<button type="button" class="btn" onClick=${() => setQuery({ q: null, state: null, contacts: null })}>${t("campaigns.contacts.show_all")}</button>` : null}<//>`}<//>
    ${isOver(campaign) || !q ? null : html`<p class="body xs muted">${t("campaigns.contacts.search_hint")}</p>`}</section>`;
}
