// @ts-check
/** Campaigns at work: how far each is, and why one waits and what ends that. */

import { useData } from "../core/data.js";
import { count, time } from "../core/format.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { Empty, Failed, Loading, Tag } from "./states.js";

const SHOWN = 5;
/** @type {[string, number][]} */
const PARTS = [["answered", 1], ["no_answer", 2], ["busy", 3], ["failed", 5], ["retry_wait", 6]];
/** @type {Record<string, string>} */
const KINDS = { running: "live", paused: "warn", scheduled: "" };

export function CampaignsCard() {
  const live = { live: ["campaign"] };
  const running = useData("/api/campaigns", { status: "running", limit: SHOWN }, live);
  const paused = useData("/api/campaigns", { status: "paused", limit: SHOWN }, live);
  const scheduled = useData("/api/campaigns", { status: "scheduled", limit: SHOWN }, live);
  const all = [running, paused, scheduled];
  const failed = all.find((one) => one.problem && one.data === undefined);
  const campaigns = all.flatMap((one) => one.data?.campaigns ?? []).slice(0, SHOWN);
  return html`<section class="card"><header><h2>${t("nav.campaigns")}</h2><a class="small" href="/campaigns">${t("actions.all")}</a></header>
    ${failed?.problem ? html`<div class="body"><${Failed} problem=${failed.problem} retry=${failed.reload} /></div>`
      : all.some((one) => one.data === undefined) ? html`<${Loading} lines=${4} />`
      : campaigns.length === 0 ? html`<${Empty} icon="mega" title=${t("home.no_campaigns")}><span class="small">${t("home.no_campaigns_hint")}</span><a class="btn" href="/campaigns/new">${t("home.new_campaign")}</a><//>`
      : html`<div class="body stack">${campaigns.map((one) => html`<${Campaign} key=${one.campaign_id} campaign=${one} />`)}</div>`}</section>`;
}

/** @param {{campaign: any}} props */
function Campaign({ campaign }) {
  const { counts } = campaign;
  const done = counts.total - counts.pending - counts.in_call - counts.retry_wait;
  const talked = counts.total ? Math.round((counts.answered / counts.total) * 100) : 0;
  const width = (/** @type {number} */ part) => (/** @type {HTMLElement | null} */ box) => { if (box) box.style.width = `${counts.total ? (part / counts.total) * 100 : 0}%`; };
  return html`<div><div class="row spread"><a class="strong-link" href=${`/campaigns/${encodeURIComponent(campaign.campaign_id)}`}><bdi>${campaign.name}</bdi></a><${Tag} kind=${isWaiting(campaign) ? "warn" : KINDS[campaign.status]}>${tagOf(campaign)}<//></div>
    <div class="progress home-progress" role="img" aria-label=${t("home.progress", { done: count(done), total: count(counts.total), answered: talked })}>${PARTS.map(([name, colour]) => (counts[name] > 0 ? html`<i key=${name} class=${`c${colour}`} ref=${width(counts[name])}></i>` : null))}</div>
    <div class="small muted">${t("home.progress", { done: count(done), total: count(counts.total), answered: talked })}${counts.in_call > 0 ? ` · ${t("home.in_call", { count: counts.in_call })}` : ""}${campaign.eta && campaign.status === "running" && !isWaiting(campaign) ? ` · ${t("home.until", { time: time(campaign.eta) })}` : ""}</div>
    ${isWaiting(campaign) ? html`<div class="small">${campaign.waiting_for.text}</div>` : null}</div>`;
}

/** Whether nobody is called; one that has as many calls as it may have at once is at work. */
const isWaiting = (/** @type {any} */ campaign) => Boolean(campaign.waiting_for) && !(campaign.status === "running" && campaign.counts.in_call > 0);

/** 'Running', 'Waits for 09:00', or why it is paused. */
function tagOf(/** @type {any} */ campaign) {
  const wait = isWaiting(campaign) ? campaign.waiting_for : null;
  if (wait?.until) return t("home.waits_until", { time: time(wait.until) });
  if (campaign.status === "paused") return t("home.paused", { reason: named("home.pauses", campaign.pause_reason) });
  if (campaign.status === "scheduled") return t("home.begins", { time: time(campaign.start_at) });
  return wait ? t("home.waits") : t("home.is_running");
}
