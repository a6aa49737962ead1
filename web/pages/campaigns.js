// @ts-check
/** All campaigns, newest first: how far each is, what it spent, and why it waits. */

import { deedsOf, hrefOf, mayChange, Menu, useDeeds } from "../components/campaign_actions.js";
import { doneOf, Legend, Progress, spentText, StatusTag, waitText } from "../components/campaign_status.js";
import { Check, Chips, Field } from "../components/field.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/shell.js";
import { Empty, Failed, Shown } from "../components/states.js";
import { Pages, Table } from "../components/table.js";
import { useData } from "../core/data.js";
import { count, shortId, time } from "../core/format.js";
import { html, useEffect, useRef, useState } from "../core/html.js";
import { listen } from "../core/live.js";
import { query, setQuery } from "../core/router.js";
import { isStaff, role } from "../core/session.js";
import { named, t } from "../core/texts.js";

const LIMIT = 25;
const STATUSES = ["draft", "scheduled", "running", "paused", "completed", "canceled"];

/**
 * The campaigns of a page with what is told of them since: the figures of one that runs change without reading
 * the list again, which is done when a state changes.
 */
function useToldOf(/** @type {any} */ list) {
  const [told, setTold] = useState(/** @type {Record<string, any>} */ ({}));
  useEffect(() => listen("campaign", (/** @type {any} */ one) => setTold((before) => ({ ...before, [one.campaign_id]: { ...before[one.campaign_id], counts: one.counts, spent: one.spent, at: Date.now() } }))), []);
  useEffect(() => setTold({}), [list.data]);
  return (/** @type {any} */ campaign) => ({ ...campaign, ...told[campaign.campaign_id] });
}

/** Whether a change is one of a state, or of a campaign that is not on the page. */
const changesList = (/** @type {any} */ list, /** @type {any} */ told) => {
  const known = list.current?.campaigns.find((/** @type {any} */ one) => one.campaign_id === told.campaign_id);
  return !known || known.status !== told.status || known.pause_reason !== told.pause_reason || known.name !== told.name;
};

/** @param {{campaign: any, reload: () => void}} props */
function RowMenu({ campaign, reload }) {
  const { act, dialog, problem } = useDeeds(campaign, reload);
  return html`<${Menu} campaign=${campaign} deeds=${deedsOf(campaign)} act=${act} label=${t("campaigns.menu", { name: campaign.name })} />${dialog}${problem ? html`<${Failed} problem=${problem} />` : null}`;
}

function Filters() {
  const status = query.value.get("status") ?? "";
  const set = (/** @type {Record<string, string | null>} */ changes) => setQuery({ ...changes, cursor: null });
  return html`<div class="row filters"><${Chips} label=${t("campaigns.filter")} value=${status} options=${[["", t("actions.all")], ...STATUSES.map((one) => [one, named("campaigns.status", one)])]} onChoose=${(/** @type {string} */ one) => set({ status: one })} />
    <${Check} label=${t("campaigns.archived")} isOn=${query.value.get("archived") === "true"} onChange=${(/** @type {boolean} */ isOn) => set({ archived: isOn ? "true" : null })} />
    ${isStaff.value ? html`<${Field} label=${t("campaigns.of_user")} value=${query.value.get("user_id") ?? ""} placeholder="usr_…" type="search" onInput=${() => undefined} onChange=${(/** @type {any} */ event) => set({ user_id: event.currentTarget.value.trim() })} />` : null}</div>`;
}

/** @param {{campaign: any}} props */
function Name({ campaign }) {
  return html`<a href=${hrefOf(campaign)} class="strong"><bdi class="clamp">${campaign.name}</bdi></a>
    <span class="sub">${time(campaign.started_at ?? campaign.created_at)} · ${named("campaigns.purposes", campaign.purpose)}${campaign.archived_at ? ` · ${t("campaigns.is_archived")}` : ""}</span>
    ${isStaff.value ? html`<a class="sub mono" href=${`/admin/users/${encodeURIComponent(campaign.user_id)}`}>${shortId(campaign.user_id)}</a>` : null}
    <div class="only-s block"><${StatusTag} campaign=${campaign} /><${HowFar} campaign=${campaign} /></div>`;
}

/** @param {{campaign: any}} props */
function HowFar({ campaign }) {
  const { counts } = campaign;
  return html`<div class="how-far"><${Progress} counts=${counts} /><span class="sub">${t("campaigns.done_of", { done: count(doneOf(counts)), total: count(counts?.total) })}${counts?.answered ? ` · ${t("campaigns.answered", { count: count(counts.answered) })}` : ""}${campaign.rejected_count ? ` · ${t("campaigns.refused", { count: count(campaign.rejected_count) })}` : ""}</span></div>`;
}

function Nothing() {
  const isFiltered = ["status", "user_id", "archived", "cursor"].some((name) => query.value.has(name));
  if (isFiltered) return html`<${Empty} icon="mega" title=${t("campaigns.none_match")}><a class="btn" href="/campaigns">${t("campaigns.show_all")}</a><//>`;
  return html`<${Empty} icon="mega" title=${t("campaigns.none")}><p class="muted">${t("campaigns.none_story")}</p>${role.value === "operator" ? null : html`<a class="btn primary" href="/campaigns/new"><${Icon} name="plus" />${t("campaigns.first")}</a>`}<//>`;
}

export default function CampaignsPage() {
  const known = useRef(/** @type {any} */ (undefined));
  const filter = { status: query.value.get("status"), archived: query.value.get("archived"), user_id: query.value.get("user_id") };
  const list = useData("/api/campaigns", { ...filter, limit: LIMIT, cursor: query.value.get("cursor") }, { live: ["campaign"], matches: (told) => changesList(known, told) });
  known.current = list.data;
  const now = useToldOf(list);
  const columns = [
    { title: t("campaigns.campaign"), show: (/** @type {any} */ one) => html`<${Name} campaign=${one} />` },
    { title: t("campaigns.state"), isMinor: true, show: (/** @type {any} */ one) => html`<${StatusTag} campaign=${one} />${waitText(one) && one.status !== "scheduled" ? html`<span class="sub wait">${waitText(one, { withTime: false })}</span>` : null}` },
    { title: t("campaigns.how_far"), isMinor: true, show: (/** @type {any} */ one) => html`<${HowFar} campaign=${one} />` },
    { title: t("campaigns.spent"), isNumber: true, isMinor: true, show: (/** @type {any} */ one) => spentText(one) },
    ...(role.value === "operator" ? [] : [{ title: t("campaigns.more"), show: (/** @type {any} */ one) => (mayChange(one) ? html`<${RowMenu} campaign=${one} reload=${list.reload} />` : null) }]),
  ];
  const page = html`<${Filters} /><section class="card"><${Shown} of=${list} lines=${8}>${(/** @type {any} */ data) => {
    const rows = data.campaigns.map(now);
    return rows.length
      ? html`<${Table} caption=${t("nav.campaigns")} columns=${columns} rows=${rows} id=${(/** @type {any} */ one) => one.campaign_id} />${legendOf(rows)}<${Pages} next=${data.next_cursor} />`
      : html`<${Nothing} />`;
  }}<//></section>`;
  return html`<${Page} title=${t("nav.campaigns")} page=${page}>${role.value === "operator" ? null : html`<a class="btn primary" href="/campaigns/new"><${Icon} name="plus" />${t("campaigns.new")}</a>`}<//>`;
}

/** What the colours mean, for all rows of the page together. */
function legendOf(/** @type {any[]} */ rows) {
  /** @type {Record<string, number>} */
  const sums = { pending: 0 };
  for (const row of rows) for (const [name, value] of Object.entries(row.counts ?? {})) sums[name] = (sums[name] ?? 0) + Number(value);
  return html`<div class="body legend-row"><span class="xs muted">${t("campaigns.on_this_page")}</span><${Legend} counts=${sums} /></div>`;
}
