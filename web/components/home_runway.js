// @ts-check
/** How long the money lasts at the pace of the last days; unknown stays unknown, and nothing spent says nothing. */

import { money, paise } from "../core/format.js";
import { html } from "../core/html.js";
import { balance } from "../core/session.js";
import { language, t } from "../core/texts.js";
import { Icon } from "./icon.js";
import { recharge } from "./recharge.js";

const PACE_DAYS = 7;
const SOON_DAYS = 7;
const FAR_DAYS = 60;
const DAY_MS = 86_400_000;

/**
 * What a day costs, by what was spent in the last seven: over so many of them as there was spending since.
 *
 * @param {{spent: number}[] | undefined} days the oldest first, today last
 * @returns {{a_day_paise: number, days: number} | null | undefined} undefined: unknown; null: nothing was spent
 */
export function paceOf(days) {
  if (!days) return undefined;
  const last = days.slice(-PACE_DAYS);
  const first = last.findIndex((one) => one.spent > 0);
  if (first < 0) return null;
  const counted = last.slice(days.slice(0, -PACE_DAYS).some((one) => one.spent > 0) ? 0 : first);
  const spent_paise = counted.reduce((sum, one) => sum + (paise(one.spent) ?? 0), 0);
  return { a_day_paise: Math.round(spent_paise / counted.length), days: counted.length };
}

/** The day on which the money is used up: 'Monday', with its date when it is not within a week. */
function dayOf(/** @type {number} */ daysLeft) {
  const at = new Date(Date.now() + daysLeft * DAY_MS);
  const locale = language.value === "hi" ? "hi-IN-u-nu-latn" : "en-IN";
  /** @type {Intl.DateTimeFormatOptions} */
  const shown = daysLeft < 6 ? { weekday: "long" } : { weekday: "long", day: "numeric", month: "long" };
  return new Intl.DateTimeFormat(locale, { ...shown, timeZone: "Asia/Kolkata" }).format(at);
}

/** In words: until when, and at which pace; null when there is nothing to say. */
export function runwayText(/** @type {{spent: number}[] | undefined} */ days, /** @type {number | null | undefined} */ available_paise) {
  const pace = paceOf(days);
  if (pace === undefined || pace === null || typeof available_paise !== "number" || available_paise <= 0 || pace.a_day_paise <= 0) return null;
  const left = available_paise / pace.a_day_paise;
  const values = { count: pace.days, a_day: money(pace.a_day_paise) };
  if (left < 1) return { text: t("home.runway_today", values), isSoon: true };
  if (left > FAR_DAYS) return { text: t("home.runway_far", values), isSoon: false };
  return { text: t("home.runway", { ...values, day: dayOf(left) }), isSoon: left < SOON_DAYS };
}

/** Whether it stands above everything else. */
export const isNoticed = (/** @type {{isSoon: boolean} | null} */ runway) => Boolean(runway?.isSoon && balance.value && !balance.value.is_low && !balance.value.is_frozen);

/** Above everything else, when the money lasts only some days; the shell warns when it is low already. @param {{days: any[] | undefined}} props */
export function RunwayNotice({ days }) {
  const now = balance.value;
  const runway = runwayText(days, now?.available_paise);
  if (!runway || !now || !isNoticed(runway)) return null;
  return html`<div class="notice"><${Icon} name="warn" /><div><strong>${runway.text}</strong> <span class="small">${t("home.runway_then", { minimum: money(now.minimum_paise) })}</span></div>
    <button class="btn" type="button" onClick=${() => void recharge()}>${t("actions.recharge")}</button></div>`;
}
