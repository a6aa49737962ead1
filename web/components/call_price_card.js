// @ts-check
/** What a call will cost, before it is placed: by the code that charges, in words, and how long the balance lasts. */

import { money, paise } from "../core/format.js";
import { html } from "../core/html.js";
import { balance } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { affordableSeconds, Arithmetic, costPaise, legsOf, perMinute, steps, talkTime } from "./call_price.js";
import { Refusal } from "./call_refusal.js";
import { Chips } from "./field.js";
import { Loading } from "./states.js";

export const DURATIONS = [30, 60, 300, 600];

/**
 * @param {{of: {quote: any, problem: any, isLoading: boolean}, number: string, seconds: number, onSeconds: (seconds: number) => void, longest?: number | null}} props
 *   `longest`: the maximum that was chosen for the call
 */
export function PriceCard({ of, number, seconds, onSeconds, longest = null }) {
  /** @type {[string, string][]} */
  const options = DURATIONS.map((one) => [String(one), one < 60 ? t("calls.seconds", { count: one }) : t("calls.minutes", { count: one / 60 })]);
  return html`<section class="card balance"><header><h2>${t("calls.price")}</h2></header><div class="body stack">
    <${Chips} label=${t("calls.price_for")} value=${String(seconds)} options=${options} onChoose=${(/** @type {string} */ one) => onSeconds(Number(one))} />
    <div aria-live="polite" class="stack">${of.problem
      ? html`<${Refusal} problem=${of.problem} number=${number} />`
      : of.quote
        ? html`<${Price} quote=${of.quote} seconds=${seconds} longest=${longest} />`
        : of.isLoading ? html`<${Loading} lines=${3} />` : html`<div><h3 class="muted small">${t("calls.price_of_it")}</h3><div class="figure num">—</div></div><p class="small muted">${t("calls.type_number_first")}</p>`}</div>
  </div></section>`;
}

/** @param {{quote: any, seconds: number, longest: number | null}} props */
function Price({ quote, seconds, longest }) {
  const legs = legsOf(quote);
  const now = balance.value;
  const lasts = affordableSeconds(now?.available_paise, legs);
  const isShort = lasts !== null && lasts === 0;
  return html`<div><h3 class="muted small">${t("calls.price_of_it")}</h3><div class="figure money" data-testid="price">${money(paise(quote.cost))}</div></div>
    <${Arithmetic} seconds=${seconds} legs=${legs} cost_paise=${paise(quote.cost)} />
    <dl class="facts">
      <div><dt>${t("calls.rate")}</dt><dd>${legs.length > 1 ? t("calls.both_legs", { rate: money(perMinute(legs)) }) : html`${t("calls.leg_price", { rate: money(perMinute(legs)), source: named("calls.sources", quote.rate_source) })}, ${steps(legs[0])}`}</dd></div>
      <div><dt>${t("calls.balance_lasts")}</dt><dd><b>${talkTime(now?.available_paise, legs)}</b>${now ? html`<span class="sub small muted">${t("calls.from_available", { available: money(now.available_paise) })}</span>` : null}</dd></div>
      ${longest !== null ? html`<div><dt>${t("calls.at_most")}</dt><dd>${t("calls.at_most_cost", { cost: money(maximum(longest, legs)) })}</dd></div>` : null}
    </dl>
    <p class="xs muted">${isShort ? t("calls.short") : t("calls.only_if_answered")}</p>`;
}

/** The most that a call of this maximum costs. */
function maximum(/** @type {number} */ seconds, /** @type {any[]} */ legs) {
  return legs.length ? costPaise(seconds, legs) : null;
}
