// @ts-check
/** One campaign: how far it is, why it waits, what it costs, when people answer, and who is on its list. */

import { deedsOf, deedText, hrefOf, mayChange, Menu, pathOf, useDeeds } from "../components/campaign_actions.js";
import { Contacts } from "../components/campaign_contacts.js";
import { Breakdown, HeatMap, KeyFigures, paceText, useFigures } from "../components/campaign_figures.js";
import { ImportProgress, useImport } from "../components/campaign_import.js";
import { doneOf, isReading, Legend, Progress, StatusTag } from "../components/campaign_status.js";
import { CampaignSummary } from "../components/campaign_summary.js";
import { Wait } from "../components/campaign_wait.js";
import { Button } from "../components/field.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/shell.js";
import { Failed, Shown, Tag } from "../components/states.js";
import { post } from "../core/api.js";
import { useAction, useData } from "../core/data.js";
import { count, shortId } from "../core/format.js";
import { html } from "../core/html.js";
import { navigate } from "../core/router.js";
import { isStaff } from "../core/session.js";
import { named, t } from "../core/texts.js";

/** @type {Record<string, string>} */
const ICONS = { pause: "pause", resume: "play", cancel: "stop", retry: "refresh", budget: "plus", continue: "play" };
const SHOWN = ["continue", "resume", "budget", "pause", "retry", "cancel"];

/** @param {{campaign: any, deeds: ReturnType<typeof useDeeds>}} props */
function Actions({ campaign, deeds }) {
  if (!mayChange(campaign)) return null;
  const all = deedsOf(campaign);
  const isInNotice = (/** @type {string} */ one) => campaign.status === "paused" && (one === "budget" || one === "resume");
  const buttons = all.filter((one) => SHOWN.includes(one) && !isInNotice(one)).slice(0, 2);
  return html`<div class="row">${buttons.map((one, i) => html`<${Button} key=${one} kind=${one === "cancel" ? "danger" : i === 0 && one !== "pause" ? "primary" : ""} isBusy=${deeds.isBusy} onClick=${() => deeds.act(one)}>${ICONS[one] ? html`<${Icon} name=${ICONS[one]} />` : null}${deedText(one, campaign)}<//>`)}
    <${Menu} campaign=${campaign} deeds=${all.filter((one) => !buttons.includes(one) && !(one === "budget" || (one === "resume" && campaign.pause_reason === "user")))} act=${deeds.act} label=${t("campaigns.menu", { name: campaign.name })} /></div>`;
}

/** @param {{campaign: any}} props */
function Downloads({ campaign }) {
  const path = pathOf(campaign);
  return html`<div class="row tight">
    <a class="btn" href=${`${path}/results?excel=true`} download><${Icon} name="down" />${t("campaigns.results_csv")}</a>
    <a class="btn" href=${`${path}/attempts?excel=true`} download><${Icon} name="down" />${t("campaigns.attempts_csv")}</a>
    ${campaign.rejected_count ? html`<a class="btn" href=${`${path}/rejected?excel=true`} download><${Icon} name="down" />${t("campaigns.refused_csv_count", { count: count(campaign.rejected_count) })}</a>` : null}</div>`;
}

/** @param {{campaign: any, own: any}} props */
function HowFar({ campaign, own }) {
  const { counts } = campaign;
  return html`<section class="card"><div class="body stack"><div class="row spread"><div><span class="figure-l num">${count(doneOf(counts))}</span> <span class="muted">${t("campaigns.of_contacts", { total: count(counts?.total) })}</span></div><div class="muted small num">${paceText(campaign, own)}</div></div>
    <${Progress} counts=${counts} />${counts ? html`<${Legend} counts=${counts} />` : null}</div></section>`;
}

/** Rows that are not called, and why. @param {{campaign: any}} props */
function Refused({ campaign }) {
  const codes = Object.entries(campaign.rejected_by_code ?? {});
  const missing = Object.entries(campaign.missing_variables ?? {});
  if (!codes.length && !missing.length) return null;
  return html`<section class="card"><header><h2>${t("campaigns.not_called")}</h2></header><div class="body stack tight">
    ${codes.map(([code, number]) => html`<div key=${code} class="row spread"><span>${named("campaigns.refusals", code)}</span><span class="num">${count(Number(number))}</span></div>`)}
    ${missing.map(([name, one]) => html`<div key=${name} class="row spread"><span>${t("campaigns.missing", { name })}</span><span class="num">${count(/** @type {any} */ (one).count)}</span></div>`)}</div></section>`;
}

/** While its list is read. @param {{campaign: any, reload: () => void}} props */
function Reading({ campaign, reload }) {
  const { job, problem } = useImport(campaign.import, reload);
  const stop = useAction((key) => post(`/api/campaigns/imports/${encodeURIComponent(job.job_id)}/cancel`, {}, key));
  const cancel = async () => {
    if ((await stop.run()) !== undefined) navigate("/campaigns");
  };
  return html`<section class="card"><div class="body stack"><${ImportProgress} job=${job} />${problem ? html`<${Failed} problem=${problem} />` : null}${stop.problem ? html`<${Failed} problem=${stop.problem} />` : null}
    ${mayChange(campaign) ? html`<div><${Button} isBusy=${stop.isBusy} onClick=${cancel}>${t("campaigns.import.cancel")}<//></div>` : null}</div></section>`;
}

/** @param {{campaign: any, reload: () => void}} props */
function Shows({ campaign, reload }) {
  const { own, all } = useFigures(campaign);
  const deeds = useDeeds(campaign, (/** @type {any} */ changed) => (changed === null ? navigate("/campaigns") : reload()));
  const calls = own.data?.calls;
  return html`<div class="row spread"><div class="row"><${StatusTag} campaign=${campaign} />${campaign.archived_at ? html`<${Tag}>${t("campaigns.is_archived")}<//>` : null}<span class="muted small">${named("campaigns.purposes", campaign.purpose)} · <span class="mono" title=${campaign.campaign_id}>${shortId(campaign.campaign_id)}</span></span>
      ${isStaff.value ? html`<a class="small mono" href=${`/admin/users/${encodeURIComponent(campaign.user_id)}`}>${shortId(campaign.user_id)}</a>` : null}</div><${Actions} campaign=${campaign} deeds=${deeds} /></div>
    ${deeds.problem ? html`<${Failed} problem=${deeds.problem} />` : null}${deeds.dialog}
    <${Wait} campaign=${campaign} act=${deeds.act} reload=${reload} mayAct=${mayChange(campaign)} />
    ${campaign.status === "draft" && !isReading(campaign) ? html`<p class="notice"><span>${t("campaigns.draft_story")}</span></p>` : null}
    ${isReading(campaign) ? html`<${Reading} campaign=${campaign} reload=${reload} />` : html`<${HowFar} campaign=${campaign} own=${own} />
      <${KeyFigures} campaign=${campaign} own=${own} all=${all} />
      ${calls?.heat_map.length ? html`<${HeatMap} cells=${calls.heat_map} /><${Breakdown} calls=${calls} />` : null}
      <div class="grid g2"><section class="card"><header><h2>${t("campaigns.review.summary")}</h2>${mayChange(campaign) && ["draft", "paused"].includes(campaign.status) ? html`<a class="small" href=${`${hrefOf(campaign)}/edit`}>${t("campaigns.deeds.edit")}</a>` : null}</header><div class="body"><${CampaignSummary} campaign=${campaign} /></div></section><div class="stack"><section class="card"><header><h2>${t("campaigns.downloads")}</h2></header><div class="body"><${Downloads} campaign=${campaign} /></div></section><${Refused} campaign=${campaign} /></div></div>
      <${Contacts} campaign=${campaign} />`}`;
}

/** @param {{id: string}} props */
export default function CampaignPage({ id }) {
  const one = useData(`/api/campaigns/${encodeURIComponent(id)}`, {}, { live: ["campaign", "balance"], matches: (told) => told.campaign_id === id || told.campaign_id === undefined });
  return html`<${Page} title=${one.data?.name ?? t("campaigns.campaign")} page=${html`<${Shown} of=${one} lines=${8}>${(/** @type {any} */ campaign) => html`<${Shows} campaign=${campaign} reload=${one.reload} />`}<//>`} />`;
}
