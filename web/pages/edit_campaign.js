// @ts-check
/** Change a draft or a paused campaign: what may change now, and why the rest may not. */

import { hrefOf, mayChange, pathOf } from "../components/campaign_actions.js";
import { MessageFields } from "../components/campaign_message.js";
import { changesOf, planOf, wrongInMessage, wrongInTimes } from "../components/campaign_plan.js";
import { isReading, StatusTag } from "../components/campaign_status.js";
import { withoutColumn } from "../components/campaign_variables.js";
import { PaceFields, PurposeFields, RetryFields, WindowFields } from "../components/campaign_when.js";
import { Button } from "../components/field.js";
import { Page } from "../components/shell.js";
import { Failed, Shown } from "../components/states.js";
import { Facts } from "../components/table.js";
import { say } from "../components/toast.js";
import { post, request } from "../core/api.js";
import { useAction, useData } from "../core/data.js";
import { count, money, paise, phone, time } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { navigate } from "../core/router.js";
import { named, t } from "../core/texts.js";

/** What cannot be changed, and why. @param {{campaign: any}} props */
function Fixed({ campaign }) {
  /** @type {[string, any][]} */
  const rows = [
    [t("campaigns.summary.list"), html`${t("campaigns.summary.contacts", { count: count(campaign.counts?.total) })}<span class="sub small muted">${t("campaigns.edit.list_why")}</span>`],
    [t("campaigns.when.purpose"), html`${named("campaigns.purposes", campaign.purpose)}<span class="sub small muted">${t("campaigns.edit.purpose_why")}</span>`],
  ];
  if (campaign.connect_to) rows.push([t("campaigns.message.connect_to"), html`${phone(campaign.connect_to)}<span class="sub small muted">${t("campaigns.edit.connect_why")}</span>`]);
  if (campaign.started_at) rows.push([t("campaigns.summary.start"), html`${time(campaign.started_at)}<span class="sub small muted">${t("campaigns.edit.start_why")}</span>`]);
  return html`<section class="card"><header><h2>${t("campaigns.edit.fixed")}</h2></header><div class="body"><${Facts} rows=${rows} /></div></section>`;
}

/** @param {{campaign: any, reload: () => void}} props */
function Locked({ campaign, reload }) {
  const pause = useAction((key) => post(`${pathOf(campaign)}/pause`, {}, key));
  const canPause = mayChange(campaign) && ["running", "scheduled"].includes(campaign.status);
  const go = async () => {
    if (await pause.run()) reload();
  };
  const why = !mayChange(campaign) ? "campaigns.operator" : isReading(campaign) ? "campaigns.edit.reading" : canPause ? "campaigns.edit.pause_first" : "campaigns.edit.over";
  return html`<div class="notice"><div><strong>${t(why)}</strong></div>${canPause ? html`<${Button} isBusy=${pause.isBusy} onClick=${go}>${t("campaigns.edit.pause")}<//>` : html`<a class="btn" href=${hrefOf(campaign)}>${t("actions.back")}</a>`}</div>
    ${pause.problem ? html`<${Failed} problem=${pause.problem} />` : null}`;
}

/** @param {{campaign: any}} props */
function Form({ campaign }) {
  const [plan, setPlan] = useState(() => planOf(campaign));
  const [first] = useState(campaign);
  const set = (/** @type {any} */ changes) => setPlan((/** @type {any} */ before) => ({ ...before, ...changes }));
  const save = useAction((key, /** @type {any} */ changes) => request("PATCH", pathOf(campaign), { body: changes, key }));
  const changes = changesOf(plan, first);
  const own = { ...wrongInMessage(plan), ...wrongInTimes(plan) };
  const wrong = { ...(save.problem?.fields ?? {}), ...own };
  const isUnknown = plan.kind === "message" && withoutColumn(plan.message, campaign.columns).length > 0;
  const off = Object.keys(own).length || isUnknown ? t("campaigns.when.mend_first") : Object.keys(changes).length ? null : t("campaigns.edit.nothing");
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!(await save.run(changes))) return;
    say(t("campaigns.edit.saved", { name: plan.name }));
    navigate(hrefOf(campaign));
  };
  const all = { plan, set, wrong, campaign };
  return html`<form class="stack" onSubmit=${send}>
    ${campaign.status === "paused" && campaign.started_at ? html`<p class="small muted">${t("campaigns.edit.story", { spent: money(paise(campaign.spent)) })}</p>` : null}
    <section class="card"><header><h2>${t("campaigns.message.title")}</h2></header><div class="body"><${MessageFields} plan=${plan} set=${set} wrong=${wrong} columns=${campaign.columns} isFixed /></div></section>
    <section class="card"><header><h2>${t("campaigns.when.title")}</h2></header><div class="body stack"><${PurposeFields} ...${all} /><${WindowFields} ...${all} /></div></section>
    <section class="card"><header><h2>${t("campaigns.when.retries")}</h2></header><div class="body"><${RetryFields} ...${all} /></div></section>
    <section class="card"><header><h2>${t("campaigns.when.pace")}</h2></header><div class="body"><${PaceFields} ...${all} /></div></section>
    <${Fixed} campaign=${campaign} />
    ${save.problem ? html`<${Failed} problem=${save.problem} />${Object.entries(save.problem.fields).slice(1).map(([name, message]) => html`<p key=${name} class="small error-text"><span class="mono">${name}</span>: ${message}</p>`)}` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${save.isBusy} off=${off}>${t("campaigns.edit.save", { count: count(Object.keys(changes).length) })}<//><a class="btn quiet" href=${hrefOf(campaign)}>${t("actions.cancel")}</a></div></form>`;
}

/** @param {{id: string}} props */
export default function EditCampaignPage({ id }) {
  const one = useData(`/api/campaigns/${encodeURIComponent(id)}`, {}, { live: ["campaign"], matches: (told) => told.campaign_id === id });
  return html`<${Page} title=${one.data ? t("campaigns.edit.title", { name: one.data.name }) : t("campaigns.deeds.edit")} page=${html`<${Shown} of=${one} lines=${8}>${(/** @type {any} */ campaign) => html`
    <div class="row"><a href=${hrefOf(campaign)}>← <bdi>${campaign.name}</bdi></a><${StatusTag} campaign=${campaign} /></div>
    ${mayChange(campaign) && ["draft", "paused"].includes(campaign.status) && !isReading(campaign) ? html`<${Form} campaign=${campaign} />` : html`<${Locked} campaign=${campaign} reload=${one.reload} /><${Fixed} campaign=${campaign} />`}`}<//>`} />`;
}
