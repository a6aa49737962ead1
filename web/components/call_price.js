// @ts-check
/**
 * What a call costs, worked out here only for what is not over: 'until now', 'how long the balance lasts'.
 * What was charged is always the service's figure. Everything is whole paise, rounded once, as the service does.
 */

import { count, duration, money, paise, phone } from "../core/format.js";
import { html } from "../core/html.js";
import { t } from "../core/texts.js";

const SECONDS_MAX = 86_400;

/** The legs of a call, a quote or a rate: each with its own price. */
export const legsOf = (/** @type {any} */ priced) => priced?.legs ?? (priced ? [priced] : []);

/** How many pulses so many seconds are; the first may be longer than the others. */
function pulses(/** @type {number} */ seconds, /** @type {any} */ leg) {
  if (seconds <= 0) return 0;
  const atLeast = Math.max(seconds, leg.minimum_billable_seconds);
  return 1 + Math.ceil(Math.max(0, atLeast - leg.first_pulse_seconds) / leg.pulse_seconds);
}

/** How many seconds of a duration are paid for. */
export function billable(/** @type {number} */ seconds, /** @type {any} */ leg) {
  const found = pulses(seconds, leg);
  return found === 0 ? 0 : leg.first_pulse_seconds + (found - 1) * leg.pulse_seconds;
}

/** The price of so many seconds. */
export function costPaise(/** @type {number} */ seconds, /** @type {any[]} */ legs) {
  if (seconds <= 0) return 0;
  let numerator = 0;
  let fees_paise = 0;
  for (const leg of legs) {
    numerator += (paise(leg.rate_per_minute) ?? 0) * billable(seconds, leg);
    fees_paise += paise(leg.connection_fee) ?? 0;
  }
  return fees_paise + Math.floor((2 * numerator + 60) / 120);
}

/** The longest call that an amount pays; null when it is not known. */
export function affordableSeconds(/** @type {number | null | undefined} */ amount_paise, /** @type {any[]} */ legs) {
  if (typeof amount_paise !== "number" || legs.length === 0) return null;
  let low = 0;
  let high = SECONDS_MAX;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (costPaise(middle, legs) <= amount_paise) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** What a minute costs, all legs together. */
export const perMinute = (/** @type {any[]} */ legs) => legs.reduce((sum, leg) => sum + (paise(leg.rate_per_minute) ?? 0), 0);

/** How long an amount talks, in words. */
export function talkTime(/** @type {number | null | undefined} */ amount_paise, /** @type {any[]} */ legs) {
  const seconds = affordableSeconds(amount_paise, legs);
  if (seconds === null) return "—";
  if (seconds >= SECONDS_MAX) {
    const rate = perMinute(legs);
    return rate > 0 ? t("calls.hours", { hours: count(Math.floor((amount_paise ?? 0) / rate / 60)) }) : t("calls.free");
  }
  return duration(seconds);
}

/** A duration that is often whole minutes: '5 min', '4 h', '2 min 05 s'. */
export function roundly(/** @type {number | null | undefined} */ seconds) {
  if (typeof seconds !== "number" || seconds <= 0 || seconds % 60 !== 0) return duration(seconds);
  if (seconds % 3600 === 0) return t("calls.some_hours", { count: seconds / 3600 });
  return seconds < 3600 ? t("calls.some_minutes", { count: seconds / 60 }) : duration(seconds);
}

/** In which steps a price is counted: '60 s, then 6 s'; by the second is said as that. */
export function steps(/** @type {any} */ leg) {
  const first = leg.first_pulse_seconds;
  const next = leg.pulse_seconds;
  if (first === 1 && next === 1) return t("calls.by_second");
  return first === next ? t("calls.in_pulses", { next }) : t("calls.in_pulses_first", { first, next });
}

/** The arithmetic of one leg: '271 s / 60 × ₹10.00'. */
function legInWords(/** @type {number} */ seconds, /** @type {any} */ leg) {
  const paid = billable(seconds, leg);
  const rate = money(paise(leg.rate_per_minute));
  const fee_paise = paise(leg.connection_fee) ?? 0;
  const parts = [];
  if (paid !== seconds) parts.push(t("calls.billed_as", { seconds, paid, pulses: pulses(seconds, leg), first: leg.first_pulse_seconds, next: leg.pulse_seconds }));
  parts.push(`${paid} / 60 × ${rate}${fee_paise ? ` + ${t("calls.fee", { fee: money(fee_paise) })}` : ""}`);
  return parts.join(": ");
}

/**
 * The price of a call in words: each leg, and what they come to.
 *
 * @param {{seconds: number, legs: any[], cost_paise: number | null}} props
 *   `cost_paise`: the figure of the service, or of here where it is only until now
 */
export function Arithmetic({ seconds, legs, cost_paise }) {
  if (legs.length === 0) return null;
  if (seconds <= 0) return html`<p class="small muted">${t("calls.not_answered_free")}</p>`;
  if (legs.length === 1) return html`<p class="small muted num wrap">${legInWords(seconds, legs[0])} = <b>${money(cost_paise)}</b></p>`;
  return html`<dl class="facts small">
    ${legs.map((leg, i) => html`<div key=${i}><dt>${t(i === 0 ? "calls.leg_called" : "calls.leg_connected")}</dt><dd class="num wrap">${phone(leg.number)}<span class="sub muted">${legInWords(seconds, leg)}, ${steps(leg)}</span></dd></div>`)}
    <div><dt>${t("calls.together")}</dt><dd class="money"><b>${money(cost_paise)}</b></dd></div>
  </dl>`;
}
