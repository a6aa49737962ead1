// @ts-check
/** The range of days of a page: 7 days, 30 days, a quarter or own dates, in the URL; and the days before it. */

import { dateInIndia, day } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { query, setQuery } from "../core/router.js";
import { t } from "../core/texts.js";
import { Button, Chips, Field } from "./field.js";

const DAY_MS = 86_400_000;
const CHOICES = ["7", "30", "90"];
const DAYS_MAX = 400;

/** @typedef {{from: string, to: string, days: number}} Range */

/** 'YYYY-MM-DD', so many days later. */
function moved(/** @type {string} */ date, /** @type {number} */ days) {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * DAY_MS).toISOString().slice(0, 10);
}

const isDate = (/** @type {string | null} */ text) => Boolean(text) && /^\d{4}-\d{2}-\d{2}$/.test(/** @type {string} */ (text)) && !Number.isNaN(Date.parse(/** @type {string} */ (text)));

/** How many days from one date to another, both counted. */
const daysOf = (/** @type {string} */ from, /** @type {string} */ to) => Math.round((Date.parse(to) - Date.parse(from)) / DAY_MS) + 1;

/** The range that stands in the URL, and the one before it, as long. @returns {{now: Range, before: Range, chosen: string}} */
export function rangeOf(/** @type {URLSearchParams} */ given) {
  const from = given.get("from");
  const to = given.get("to");
  let now;
  let chosen = "own";
  if (isDate(from) && isDate(to) && /** @type {string} */ (from) <= /** @type {string} */ (to)) {
    now = { from: /** @type {string} */ (from), to: /** @type {string} */ (to), days: daysOf(/** @type {string} */ (from), /** @type {string} */ (to)) };
  } else {
    chosen = CHOICES.includes(given.get("days") ?? "") ? /** @type {string} */ (given.get("days")) : "30";
    now = { from: dateInIndia(Number(chosen) - 1), to: dateInIndia(), days: Number(chosen) };
  }
  return { now, before: { from: moved(now.from, -now.days), to: moved(now.from, -1), days: now.days }, chosen };
}

/** '30 Oct 2026 to 28 Nov 2026'. */
export const shownRange = (/** @type {{from: string, to: string}} */ range) => t("overview.range", { from: day(range.from), to: day(range.to) });

export function RangePicker() {
  const { now, chosen } = rangeOf(query.value);
  const [isOwn, setIsOwn] = useState(chosen === "own");
  const [from, setFrom] = useState(now.from);
  const [to, setTo] = useState(now.to);
  const choose = (/** @type {string} */ key) => {
    setIsOwn(key === "own");
    if (key !== "own") setQuery({ days: key, from: null, to: null });
  };
  const days = isDate(from) && isDate(to) ? daysOf(from, to) : 0;
  const off = !isDate(from) || !isDate(to) ? t("overview.dates_missing") : days < 1 ? t("overview.dates_order") : days > DAYS_MAX ? t("overview.dates_long", { days: DAYS_MAX }) : null;
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!off) setQuery({ from, to, days: null });
  };
  return html`<section class="row" aria-label=${t("overview.period")}>
    <${Chips} label=${t("overview.period")} value=${isOwn ? "own" : chosen} onChoose=${choose}
      options=${[...CHOICES, "own"].map((key) => [key, t(`overview.ranges.${key}`)])} />
    ${isOwn ? html`<form class="filters" onSubmit=${send}>
      <${Field} label=${t("fields.from")} type="date" value=${from} max=${dateInIndia()} onInput=${setFrom} />
      <${Field} label=${t("fields.to")} type="date" value=${to} max=${dateInIndia()} onInput=${setTo} />
      <${Button} type="submit" off=${off}>${t("actions.show")}<//></form>` : null}
  </section>`;
}

/** How a figure has changed: '+12 %' with what it was before; the words say whether there is nothing to compare. @param {{now: number | null | undefined, before: number | null | undefined, show: (value: number | null | undefined) => string, isBadUp?: boolean}} props */
export function Change({ now, before, show, isBadUp = false }) {
  if (typeof now !== "number" || typeof before !== "number") return html`<span class="muted">${t("overview.before_unknown")}</span>`;
  if (now === before) return html`<span>${t("overview.as_before")}</span>`;
  const kind = now > before === isBadUp ? "down" : "up";
  if (before === 0) return html`<span class=${kind}>${t("overview.none_before")}</span>`;
  const share = (now - before) / Math.abs(before);
  const text = `${share > 0 ? "+" : "−"}${Math.abs(share) >= 10 ? Math.round(Math.abs(share) * 100) : Math.round(Math.abs(share) * 1000) / 10} %`;
  return html`<span><span class=${kind}>${text}</span> ${t("overview.from_before", { before: show(before) })}</span>`;
}
