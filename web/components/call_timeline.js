// @ts-check
/** What happened to a call, in its order, to the millisecond; where money moved, how much. */

import { duration, money, paise } from "../core/format.js";
import { html } from "../core/html.js";
import { language, named, t } from "../core/texts.js";
import { roundly } from "./call_price.js";
import { isOver, isSettled, reasonOf } from "./call_state.js";

/** 18:42:10.114 in IST. */
function clockTime(/** @type {string} */ iso) {
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime())) return iso;
  return new Intl.DateTimeFormat("en-IN", { timeZone: "Asia/Kolkata", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" }).format(moment);
}

/** @typedef {{at: string, title: string, sub?: any}} Shown */

/** @type {Record<string, (step: any, call: any, before: any) => Shown>} */
const WORDS = {
  asked_for: (step, call) => ({
    at: step.at,
    title: t("calls.steps.asked_for"),
    sub: step.held === null ? null : t("calls.steps.reserved", { held: money(paise(step.held)), limit: roundly(step.limit_seconds), rate: money(paise(call.rate_per_minute)) }),
  }),
  extended: (step, call, before) => ({
    at: step.at,
    title: t("calls.steps.extended"),
    sub: t("calls.steps.extended_to", { before: before ? money(paise(before.held)) : "—", held: money(paise(step.held)), limit: roundly(step.limit_seconds) }),
  }),
  submitted: (step, call) => ({ at: step.at, title: t("calls.steps.submitted", { network: named("calls.networks", call.provider) }) }),
  accepted: (step, call) => ({ at: step.at, title: t("calls.steps.accepted"), sub: call.provider_call_id ? html`<span class="mono"><bdi>${call.provider_call_id}</bdi></span>` : null }),
  reported: (step, call) => ({ at: step.at, title: answeredOr(step.status, call), sub: late(step) ?? ended(step.status, call) }),
  answered: (step, call) => ({ at: step.at, title: answeredOr("in_progress", call) }),
  pressed: (step) => ({ at: step.at, title: t("calls.steps.pressed", { key: step.key }), sub: html`<bdi>${step.meaning === "stop" ? t("calls.steps.pressed_stop") : step.meaning}</bdi>` }),
  ended: (step, call) => ({ at: step.at, title: named("calls.steps.statuses", step.status), sub: ended(step.status, call) }),
  reviewed: (step) => ({ at: step.at, title: t("calls.steps.reviewed") }),
};

function answeredOr(/** @type {string} */ status, /** @type {any} */ call) {
  if (status !== "in_progress") return named("calls.steps.statuses", status);
  return t(`calls.steps.answered_by.${call.answered_by ?? "unknown"}`);
}

/** Why it ended so, and how long was talked. */
function ended(/** @type {string} */ status, /** @type {any} */ call) {
  if (status !== call.status || !isOver(call)) return null;
  const parts = [call.duration_seconds > 0 ? t("calls.steps.talked", { time: duration(call.duration_seconds) }) : null, reasonOf(call)];
  return parts.filter(Boolean).join(" · ") || null;
}

/** A report that came much later than what it reports. */
function late(/** @type {any} */ step) {
  const seconds = (new Date(step.received_at).getTime() - new Date(step.at).getTime()) / 1000;
  return seconds > 5 ? t("calls.steps.late", { time: duration(seconds) }) : null;
}

/** The steps of the service, and what its money did. @returns {Shown[]} */
function stepsOf(/** @type {any} */ call, /** @type {any[] | undefined} */ transactions) {
  /** @type {any} */
  let reserved = null;
  const shown = call.timeline.map((/** @type {any} */ step) => {
    const words = WORDS[step.what] ?? ((/** @type {any} */ one) => ({ at: one.at, title: named("calls.steps", one.what) }));
    const one = words(step, call, reserved);
    if (step.held !== null) reserved = step;
    return one;
  });
  for (const entry of transactions ?? []) {
    shown.push({ at: entry.created_at, title: t(entry.type === "debit" ? "calls.steps.charged" : "calls.steps.credited", { amount: money(paise(entry.amount)) }), sub: html`<a href=${`/transactions/${encodeURIComponent(entry.id)}`}>${t("calls.steps.balance_after", { balance: money(paise(entry.balance_after)) })}</a>` });
  }
  if (isOver(call) && isSettled(call) && !call.cost && call.ended_at) shown.push({ at: call.ended_at, title: t("calls.steps.released"), sub: t("calls.steps.released_why") });
  return shown.sort((/** @type {Shown} */ a, /** @type {Shown} */ b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}

/** @param {{call: any, transactions: any[] | undefined}} props */
export function Timeline({ call, transactions }) {
  void language.value;
  const shown = stepsOf(call, transactions);
  return html`<ol class="time">${shown.map((step, i) => html`<li key=${`${step.at} ${step.title}`} class=${i === shown.length - 1 && !isOver(call) ? "now" : undefined}>
    <time class="num xs muted" datetime=${step.at}>${clockTime(step.at)}</time><div><strong>${step.title}</strong>${step.sub ? html`<span class="sub small muted">${step.sub}</span>` : null}</div></li>`)}</ol>`;
}
