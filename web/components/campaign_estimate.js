// @ts-check
/** What calling everybody costs who is left, with the arithmetic. */

import { count, duration, money, paise } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { balance } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { Field } from "./field.js";

const GROUPS_SHOWN = 5;
const WAIT_MS = 500;

/** @param {{estimate: any, seconds: number | null, onSeconds: (seconds: number | null) => void}} props */
export function CampaignEstimate({ estimate, seconds, onSeconds }) {
  const [typed, setTyped] = useState(seconds === null ? "" : String(seconds));
  useEffect(() => {
    const wanted = /^\d{1,5}$/.test(typed.trim()) && Number(typed) > 0 ? Number(typed) : null;
    if (wanted === seconds) return undefined;
    const timer = setTimeout(() => onSeconds(wanted), WAIT_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const { contacts, affordable_contacts, groups } = estimate;
  const shown = groups.slice(0, GROUPS_SHOWN);
  return html`<div class="stack">
    <div><span class="figure-l money">${money(paise(estimate.cost))}</span> <span class="muted small">${t("campaigns.estimate.if_all", { count: count(contacts) })}</span></div>
    <ul class="plain small">${shown.map((/** @type {any} */ one, /** @type {number} */ i) => html`<li key=${i} class="muted">${one.rate_per_minute
      ? t("campaigns.estimate.group", { contacts: count(one.contacts), seconds: duration(estimate.duration_seconds), rate: money(paise(one.rate_per_minute)), cost: money(paise(one.cost)) })
      : t("campaigns.estimate.unrated", { contacts: count(one.contacts) })}${one.prefix ? html` <span class="mono">(${one.prefix}…)</span>` : null}</li>`)}
      ${groups.length > shown.length ? html`<li class="muted">${t("campaigns.estimate.more", { count: count(groups.length - shown.length) })}</li>` : null}</ul>
    <${Field} label=${t("campaigns.estimate.seconds")} hint=${named("campaigns.estimate.sources", estimate.duration_source)} inputmode="numeric" placeholder=${String(estimate.duration_seconds)} value=${typed} onInput=${setTyped} />
    <div class="row spread"><span>${t("campaigns.estimate.available")}</span><span class="money">${money(balance.value?.available_paise)}</span></div>
    <div class="row spread"><span>${t("campaigns.estimate.affordable")}</span><strong class="num">${t("campaigns.of", { part: count(affordable_contacts), all: count(contacts) })}</strong></div>
    ${affordable_contacts < contacts - estimate.unrated_contacts ? html`<div class="notice small"><div><strong>${t("campaigns.estimate.pays_for", { count: count(affordable_contacts) })}</strong> ${t("campaigns.check.pauses")}</div></div>` : null}
  </div>`;
}
