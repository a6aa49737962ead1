// @ts-check
/**
 * How values are shown: rupees in Indian grouping, times in IST, numbers and ids.
 *
 * Amounts arrive as JSON numbers of rupees with two decimals, and are paise here: no sum is made of fractions.
 */

import { language } from "./texts.js";

const ZONE = "Asia/Kolkata";
const UNKNOWN = "—";

/** Rupees of the API as paise; null when unknown. */
export function paise(/** @type {number | null | undefined} */ rupees) {
  return typeof rupees === "number" && Number.isFinite(rupees) ? Math.round(rupees * 100) : null;
}

/** What somebody typed as paise: '1,000', '₹ 99.50'; null when it is no amount with at most two decimals. */
export function typedPaise(/** @type {string} */ text) {
  const cleaned = text.replace(/[₹,\s]/g, "");
  if (!/^\d{1,9}(\.\d{1,2})?$/.test(cleaned)) return null;
  return Math.round(Number(cleaned) * 100);
}

/** Paise as the API takes them: rupees. */
export const rupees = (/** @type {number} */ amount_paise) => amount_paise / 100;

const formats = new Map();

function cached(/** @type {string} */ key, /** @type {() => any} */ make) {
  const name = `${language.value} ${key}`;
  if (!formats.has(name)) formats.set(name, make());
  return formats.get(name);
}

// Latin digits in every language: amounts are compared with CSV files and invoices.
const locale = () => (language.value === "hi" ? "hi-IN-u-nu-latn" : "en-IN");

/** ₹1,23,456.78; a dash for what is unknown, which is never 0. */
export function money(/** @type {number | null | undefined} */ amount_paise, { sign = false } = {}) {
  if (typeof amount_paise !== "number" || !Number.isFinite(amount_paise)) return UNKNOWN;
  const format = cached("money", () =>
    new Intl.NumberFormat(locale(), { style: "currency", currency: "INR", minimumFractionDigits: 2 }),
  );
  const text = format.format(Math.abs(amount_paise) / 100);
  return amount_paise < 0 ? `−${text}` : sign ? `+${text}` : text;
}

/** Rupees of the API, shown. */
export const shownRupees = (/** @type {number | null | undefined} */ amount, /** @type {{sign?: boolean}} */ options = {}) => money(paise(amount), options);

/** 12,34,567; a dash for what is unknown. */
export function count(/** @type {number | null | undefined} */ value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return UNKNOWN;
  return cached("count", () => new Intl.NumberFormat(locale(), { maximumFractionDigits: 1 })).format(value);
}

/** A share of 1 as 48.1 %. */
export function percent(/** @type {number | null | undefined} */ share) {
  if (typeof share !== "number" || !Number.isFinite(share)) return UNKNOWN;
  return `${cached("percent", () => new Intl.NumberFormat(locale(), { maximumFractionDigits: 1 })).format(share * 100)} %`;
}

/** A moment in IST: '27 Nov, 18:42', with the year when it is not this one, with seconds on request. */
export function time(/** @type {string | null | undefined} */ iso, { seconds = false } = {}) {
  if (!iso) return UNKNOWN;
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime())) return String(iso);
  const isThisYear = moment.getFullYear() === new Date().getFullYear();
  const format = cached(`time ${seconds} ${isThisYear}`, () =>
    new Intl.DateTimeFormat(locale(), {
      timeZone: ZONE,
      day: "numeric",
      month: "short",
      year: isThisYear ? undefined : "numeric",
      hour: "2-digit",
      minute: "2-digit",
      second: seconds ? "2-digit" : undefined,
      hourCycle: "h23",
    }),
  );
  return format.format(moment);
}

/** The day of a moment in IST, or of a date 'YYYY-MM-DD': '27 Nov 2026'. */
export function day(/** @type {string | null | undefined} */ iso) {
  if (!iso) return UNKNOWN;
  const moment = new Date(iso.length === 10 ? `${iso}T12:00:00+05:30` : iso);
  if (Number.isNaN(moment.getTime())) return String(iso);
  return cached("day", () => new Intl.DateTimeFormat(locale(), { timeZone: ZONE, day: "numeric", month: "short", year: "numeric" })).format(moment);
}

/** Today in IST as 'YYYY-MM-DD', or so many days before. */
export function dateInIndia(/** @type {number} */ daysBefore = 0) {
  const moment = new Date(Date.now() - daysBefore * 86_400_000);
  return new Intl.DateTimeFormat("en-CA", { timeZone: ZONE }).format(moment);
}

/** 271 seconds as '4 min 31 s'. */
export function duration(/** @type {number | null | undefined} */ seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (hours > 0) return `${count(hours)} h ${String(minutes).padStart(2, "0")} min`;
  return minutes > 0 ? `${minutes} min ${String(whole % 60).padStart(2, "0")} s` : `${whole} s`;
}

/** An id, shortened in the middle: 'call_01M8…XMV'. */
export function shortId(/** @type {string | null | undefined} */ id) {
  if (!id) return UNKNOWN;
  return id.length <= 16 ? id : `${id.slice(0, 9)}…${id.slice(-4)}`;
}

/** A telephone number with spaces for people: '+91 98765 43210'. */
export function phone(/** @type {string | null | undefined} */ number) {
  if (!number) return UNKNOWN;
  const indian = /^\+91([6-9]\d{4})(\d{5})$/.exec(number); // mobile numbers; others are of all lengths
  return indian ? `+91 ${indian[1]} ${indian[2]}` : number;
}
