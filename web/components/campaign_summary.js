// @ts-check
/** The options of a campaign in words. */

import { count, duration, money, paise, phone, time } from "../core/format.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { RETRIED, WEEKDAYS } from "./campaign_plan.js";
import { Facts } from "./table.js";

/** Weekdays and hours, as people say them. */
export function windowText(/** @type {any} */ window) {
  const names = window.days.map((/** @type {string} */ one) => named("campaigns.weekdays", one));
  const at = window.days.map((/** @type {string} */ one) => WEEKDAYS.indexOf(one));
  const isRow = names.length > 2 && at.every((/** @type {number} */ place, /** @type {number} */ i) => place === at[0] + i);
  const days = names.length === 7 ? t("campaigns.every_day") : isRow ? `${names[0]}–${names.at(-1)}` : names.join(", ");
  return `${days}, ${window.start}–${window.end} ${window.timezone === "Asia/Kolkata" ? "IST" : window.timezone}`;
}

function retryText(/** @type {any} */ retry) {
  if (retry.max_attempts <= 1) return t("campaigns.summary.once");
  const delays = RETRIED.filter((name) => retry.delays_minutes[name]?.length).map((name) => `${t(`campaigns.when.after.${name}`)}: ${retry.delays_minutes[name].join(", ")}`);
  return html`${t("campaigns.summary.attempts", { count: count(retry.max_attempts) })}${delays.length ? html`<span class="sub small muted">${t("campaigns.summary.minutes", { delays: delays.join(" · ") })}</span>` : null}`;
}

function heard(/** @type {any} */ campaign) {
  if (campaign.connect_to) return t("campaigns.summary.connects", { number: phone(campaign.connect_to) });
  if (campaign.audio_url) return html`<bdi class="mono small">${campaign.audio_url}</bdi>`;
  return campaign.message ? html`<span dir="auto" class="said">${campaign.message}</span>` : t("campaigns.summary.silent");
}

/** @returns {[string, any, string][]} name, value, and the step that changes it */
function rowsOf(/** @type {any} */ campaign) {
  const keys = Object.entries(campaign.keys ?? {}).map(([key, meaning]) => `${key}: ${named("campaigns.message.meanings", String(meaning))}`);
  /** @type {[string, any, string][]} */
  const rows = [
    [t("campaigns.summary.list"), html`${t("campaigns.summary.contacts", { count: count(campaign.counts?.total) })}${campaign.phone_column ? html`<span class="sub small muted">${t("campaigns.summary.column")} <bdi>${campaign.phone_column}</bdi></span>` : null}`, "check"],
    [t("campaigns.summary.heard"), heard(campaign), "message"],
    [t("campaigns.summary.voice"), [campaign.language, campaign.voice].filter(Boolean).join(" · "), "message"],
    [t("campaigns.summary.keys"), keys.join(" · "), "message"],
    [t("campaigns.message.machine"), campaign.machine_detection ? t(`campaigns.message.machines.${campaign.machine_detection}`) : "", "message"],
    [t("campaigns.message.max_duration"), campaign.max_duration_seconds ? duration(campaign.max_duration_seconds) : "", "message"],
    [t("campaigns.when.purpose"), named("campaigns.purposes", campaign.purpose), "purpose"],
    [t("campaigns.summary.window"), campaign.window ? windowText(campaign.window) : t("campaigns.summary.hours_of_purpose"), "when"],
    [t("campaigns.summary.start"), campaign.started_at ? time(campaign.started_at) : campaign.start_at ? time(campaign.start_at) : t("campaigns.summary.at_once"), "when"],
    [t("campaigns.summary.end"), campaign.end_at ? time(campaign.end_at) : t("campaigns.summary.until_done"), "when"],
    [t("campaigns.summary.retries"), retryText(campaign.retry), "when"],
    [t("campaigns.summary.pace"), campaign.calls_per_minute ? t("campaigns.summary.pace_limited", { at_once: count(campaign.max_concurrent), a_minute: count(campaign.calls_per_minute) }) : t("campaigns.summary.at_once_most", { count: count(campaign.max_concurrent) }), "when"],
    [t("campaigns.when.caller_ids"), (campaign.caller_ids ?? []).map(phone).join(", "), "when"],
    [t("campaigns.summary.budget"), campaign.budget === null ? t("campaigns.summary.no_budget") : money(paise(campaign.budget)), "when"],
  ];
  return rows.filter(([, value]) => value !== "");
}

/**
 * @param {{campaign: any, mend?: (step: string) => void, isStored?: boolean}} props
 *   `mend`: what goes to the step that changes it; `isStored`: its list and purpose stay as they are
 */
export function CampaignSummary({ campaign, mend, isStored = false }) {
  const fixed = ["check", ...(isStored ? ["purpose"] : [])];
  return html`<${Facts} rows=${rowsOf(campaign).map(([name, value, step]) => [name, mend
    ? html`<div class="row spread top-aligned"><div class="grow">${value}</div>${fixed.includes(step) ? null : html`<button type="button" class="link small" aria-label=${t("campaigns.review.change_what", { what: name })} onClick=${() => mend(step === "purpose" ? "when" : step)}>${t("campaigns.review.change")}</button>`}</div>`
    : value])} />`;
}
