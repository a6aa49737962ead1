// @ts-check
/** How a campaign is: its state, where its contacts are, and why nobody is called right now. */

import { count, money, paise, time } from "../core/format.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { Tag } from "./states.js";

/** The counts of contacts in the order of the bar, with the colour of each; what is not in it waits for its first call. */
export const PARTS = [["answered", "c1"], ["no_answer", "c2"], ["busy", "c3"], ["failed", "c5"], ["skipped", "c4"], ["exhausted", "c6"], ["expired", "c6"], ["canceled", "c6"], ["in_call", "c7"], ["retry_wait", "c8"]];
const UNDONE = ["pending", "in_call", "retry_wait"];

export const doneOf = (/** @type {any} */ counts) => (counts ? counts.total - UNDONE.reduce((sum, name) => sum + (counts[name] ?? 0), 0) : null);
export const unreachedOf = (/** @type {any} */ counts) => ["no_answer", "busy", "failed", "exhausted", "expired"].reduce((sum, name) => sum + (counts?.[name] ?? 0), 0);
export const isOver = (/** @type {any} */ campaign) => ["completed", "canceled"].includes(campaign.status);
export const isReading = (/** @type {any} */ campaign) => Boolean(campaign.import) && !["completed", "failed", "canceled"].includes(campaign.import.state);

/** @type {Record<string, string>} */
const KINDS = { draft: "", scheduled: "live", running: "live", paused: "warn", completed: "ok", canceled: "" };

/** @param {{campaign: any}} props */
export function StatusTag({ campaign }) {
  const { status, pause_reason, waiting_for } = campaign;
  if (status === "paused" && pause_reason !== "user") return html`<${Tag} kind=${pause_reason === "balance" || pause_reason === "frozen" ? "bad" : "warn"}>${named("campaigns.waits_short", pause_reason)}<//>`;
  if (status === "scheduled") return html`<${Tag} kind="warn">${t("campaigns.starts_at", { time: time(campaign.start_at) })}<//>`;
  if (status === "running" && waiting_for && ["window", "retry", "provider"].includes(waiting_for.reason)) {
    return html`<${Tag} kind="warn">${waiting_for.until ? t("campaigns.waits_until", { time: time(waiting_for.until) }) : named("campaigns.waits_short", waiting_for.reason)}<//>`;
  }
  return html`<${Tag} kind=${KINDS[status] ?? ""}>${named("campaigns.status", status)}<//>`;
}

/** Why it waits and what ends that, in a sentence; null when it does not wait. `withTime`: also when, which the tag says, too. */
export function waitText(/** @type {any} */ campaign, { withTime = true } = {}) {
  const wait = campaign.waiting_for;
  if (!wait) return null;
  const key = `campaigns.waits.${wait.reason}`;
  const known = t(key, { until: time(wait.until) });
  const text = known === key ? wait.text : known;
  return withTime && wait.until && wait.reason !== "start" ? `${text} ${t("campaigns.until", { time: time(wait.until) })}` : text;
}

/** A part of the bar; its width is set by the script, as the policy allows no style attribute. @param {{share: number, kind: string}} props */
const Part = ({ share, kind }) => html`<i class=${kind} ref=${(/** @type {HTMLElement | null} */ element) => { if (element) element.style.width = `${share * 100}%`; }}></i>`;

/** How far it is, as a bar. @param {{counts: any}} props */
export function Progress({ counts }) {
  if (!counts?.total) return html`<div class="progress" role="img" aria-label=${t("campaigns.progress.none")}></div>`;
  const shown = PARTS.filter(([name]) => counts[/** @type {string} */ (name)] > 0);
  const label = shown.map(([name]) => `${named("campaigns.states", name)} ${count(counts[/** @type {string} */ (name)])}`).join(", ");
  return html`<div class="progress" role="img" aria-label=${t("campaigns.progress.label", { done: count(doneOf(counts)), total: count(counts.total), parts: label || "—" })}>
    ${shown.map(([name, kind]) => html`<${Part} key=${name} share=${counts[/** @type {string} */ (name)] / counts.total} kind=${/** @type {string} */ (kind)} />`)}</div>`;
}

/** What the colours of the bar mean, with counts. @param {{counts: any}} props */
export function Legend({ counts }) {
  return html`<div class="legend">${PARTS.filter(([name]) => counts[/** @type {string} */ (name)] > 0).map(([name, kind]) => html`<span key=${name}><i class=${kind} aria-hidden="true"></i>${named("campaigns.states", name)} <b>${count(counts[/** @type {string} */ (name)])}</b></span>`)}
    <span><i class="c0" aria-hidden="true"></i>${named("campaigns.states", "pending")} <b>${count(counts.pending)}</b></span></div>`;
}

/** What it has spent, of what it may. */
export function spentText(/** @type {any} */ campaign) {
  const spent = money(paise(campaign.spent));
  return campaign.budget === null || campaign.budget === undefined ? spent : t("campaigns.of", { part: spent, all: money(paise(campaign.budget)) });
}
