// @ts-check
/** What can be done with a campaign: pause, go on, cancel, copy, call the unreached again, archive, delete. */

import { newKey, post, request } from "../core/api.js";
import { useAction } from "../core/data.js";
import { count, rupees, shownRupees, typedPaise, paise, money } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { navigate } from "../core/router.js";
import { me, role } from "../core/session.js";
import { t } from "../core/texts.js";
import { isOver, isReading, unreachedOf } from "./campaign_status.js";
import { Ask, Dialog } from "./dialog.js";
import { Button, Field } from "./field.js";
import { withMoney } from "./recharge.js";
import { Failed } from "./states.js";
import { say } from "./toast.js";

export const pathOf = (/** @type {any} */ campaign) => `/api/campaigns/${encodeURIComponent(campaign.campaign_id)}`;
export const hrefOf = (/** @type {any} */ campaign) => `/campaigns/${encodeURIComponent(campaign.campaign_id)}`;
export const draftHref = (/** @type {any} */ campaign) => `/campaigns/new?draft=${encodeURIComponent(campaign.campaign_id)}&step=review`;

/** Whether this account may move it: an operator looks only. */
export const mayChange = (/** @type {any} */ campaign) => role.value === "admin" || (role.value === "user" && campaign.user_id === me.value?.id);

const moved = async (/** @type {any} */ campaign, /** @type {string} */ verb, /** @type {string} */ key) => {
  const path = `${pathOf(campaign)}/${verb}`;
  if (verb !== "resume" && verb !== "retry-unreached" && verb !== "copy") return post(path, {}, key);
  return withMoney((attempt) => post(path, {}, attempt ? newKey() : key));
};

/** Which deeds there are now, the first one as the one that is done most. @returns {string[]} */
export function deedsOf(/** @type {any} */ campaign) {
  const { status, pause_reason } = campaign;
  if (isReading(campaign)) return [];
  if (status === "draft") return ["continue", "edit", "copy", "archive", "delete"];
  const deeds = [];
  if (status === "paused") deeds.push(pause_reason === "budget" ? "budget" : "resume");
  if (status === "running" || status === "scheduled") deeds.push("pause");
  if (status === "paused") deeds.push("edit");
  if ((status === "completed" || (status === "paused" && pause_reason === "user")) && unreachedOf(campaign.counts) > 0) deeds.push("retry");
  deeds.push("copy");
  if (isOver(campaign)) deeds.push("archive", "delete");
  else deeds.push("cancel");
  return deeds;
}

const VERBS = /** @type {Record<string, string>} */ ({ resume: "resume", pause: "pause", retry: "retry-unreached", copy: "copy", archive: "archive", unarchive: "unarchive" });
const ASKED = new Set(["cancel", "delete", "retry", "budget"]);

const textOf = (/** @type {string} */ deed, /** @type {any} */ campaign) => {
  const name = deed === "archive" && campaign.archived_at ? "unarchive" : deed;
  return t(`campaigns.deeds.${name}`, { count: count(unreachedOf(campaign.counts)) });
};

/**
 * Do one: what is asked for first, and what happens afterwards.
 *
 * @param {any} campaign
 * @param {(changed: any) => void} onChanged what it is now; null when it is gone
 */
export function useDeeds(campaign, onChanged) {
  const [asked, setAsked] = useState(/** @type {string | null} */ (null));
  const deed = useAction(async (key, /** @type {string} */ name) => moved(campaign, VERBS[name] ?? name, key));
  const act = async (/** @type {string} */ name) => {
    const verb = name === "archive" && campaign.archived_at ? "unarchive" : name;
    if (name === "continue") return navigate(draftHref(campaign));
    if (name === "edit") return navigate(`${hrefOf(campaign)}/edit`);
    if (ASKED.has(name)) return setAsked(name);
    const done = await deed.run(verb);
    if (!done) return;
    say(t(`campaigns.done.${verb}`, { name: campaign.name }));
    if (verb === "copy") navigate(draftHref(done));
    else onChanged(done);
  };
  const dialog = asked ? html`<${Question} deed=${asked} campaign=${campaign} onClose=${() => setAsked(null)} onDone=${(/** @type {any} */ done) => {
    setAsked(null);
    say(t(`campaigns.done.${asked}`, { name: campaign.name }));
    onChanged(asked === "delete" ? null : done);
  }} />` : null;
  return { act, isBusy: deed.isBusy, problem: deed.problem, dialog };
}

/** @param {{deed: string, campaign: any, onClose: () => void, onDone: (done: any) => void}} props */
function Question({ deed, campaign, onClose, onDone }) {
  if (deed === "budget") return html`<${Budget} campaign=${campaign} onClose=${onClose} onDone=${onDone} />`;
  const work = (/** @type {string} */ key) => (deed === "delete" ? request("DELETE", pathOf(campaign), { key }) : moved(campaign, deed === "retry" ? "retry-unreached" : "cancel", key));
  const { counts } = campaign;
  const left = (counts?.pending ?? 0) + (counts?.retry_wait ?? 0);
  return html`<${Ask} title=${t(`campaigns.ask.${deed}`)} action=${t(`campaigns.ask.${deed}_now`, { count: count(deed === "retry" ? unreachedOf(counts) : left) })} kind=${deed === "retry" ? "primary" : "danger"} dismiss=${t("campaigns.ask.leave")} work=${work} onDone=${onDone} onClose=${onClose}>
    <p><strong><bdi>${campaign.name}</bdi></strong></p>
    <p>${t(`campaigns.ask.${deed}_story`, { left: count(left), live: count(counts?.in_call), count: count(unreachedOf(counts)), spent: shownRupees(campaign.spent) })}</p><//>`;
}

/** A higher budget, with which a campaign goes on by itself. @param {{campaign: any, onClose: () => void, onDone: (done: any) => void}} props */
function Budget({ campaign, onClose, onDone }) {
  const before_paise = paise(campaign.budget) ?? 0;
  const [text, setText] = useState(String(rupees(Math.ceil((before_paise * 1.5) / 100_00) * 100_00)));
  const typed_paise = typedPaise(text);
  const save = useAction((key) => request("PATCH", pathOf(campaign), { body: { budget: rupees(typed_paise ?? 0) }, key }));
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const done = await save.run();
    if (done) onDone(done);
  };
  return html`<${Dialog} title=${t("campaigns.ask.budget")} onClose=${onClose}><form class="stack" onSubmit=${send}>
    <p>${t("campaigns.ask.budget_story", { spent: shownRupees(campaign.spent), budget: money(before_paise) })}</p>
    <${Field} label=${t("campaigns.when.budget")} inputmode="decimal" value=${text} onInput=${setText} error=${save.problem?.fields["budget"]} />
    ${save.problem && !save.problem.fields["budget"] ? html`<${Failed} problem=${save.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${save.isBusy} off=${typed_paise === null || typed_paise <= before_paise ? t("campaigns.ask.budget_higher", { budget: money(before_paise) }) : null}>${t("campaigns.ask.budget_now", { amount: money(typed_paise) })}<//></div></form><//>`;
}

/** The menu of what can be done with one. @param {{campaign: any, deeds: string[], act: (deed: string) => void, label: string}} props */
export function Menu({ campaign, deeds, act, label }) {
  const choose = (/** @type {any} */ event, /** @type {string} */ deed) => {
    const details = event.currentTarget.closest("details");
    details.open = false;
    details.querySelector("summary").focus();
    act(deed);
  };
  const left = (/** @type {any} */ event) => {
    if (!event.currentTarget.contains(event.relatedTarget)) event.currentTarget.open = false;
  };
  const keys = (/** @type {any} */ event) => {
    if (event.key === "Escape") event.currentTarget.open = false;
  };
  if (!deeds.length) return null;
  return html`<details class="menu" onFocusOut=${left} onKeyDown=${keys}><summary class="btn quiet" aria-label=${label}>⋯</summary>
    <div class="menu-list">${deeds.map((deed) => html`<button key=${deed} type="button" class=${deed === "delete" || deed === "cancel" ? "danger" : undefined} onClick=${(/** @type {any} */ event) => choose(event, deed)}>${textOf(deed, campaign)}</button>`)}</div></details>`;
}

/** The text of a deed on its button. */
export const deedText = textOf;
