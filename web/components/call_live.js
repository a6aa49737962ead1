// @ts-check
/** A call while it lasts and when it is over: how long, what it costs, what is reserved and until when. */

import { duration, money, paise, time } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { Arithmetic, costPaise, legsOf, perMinute, roundly, steps } from "./call_price.js";
import { isOver, isSettled, isTalking } from "./call_state.js";

const TICK_MS = 1_000;

/** The moment that it is, told again every second while `isOn`. */
function useNow(/** @type {boolean} */ isOn) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!isOn) return undefined;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), TICK_MS);
    return () => clearInterval(timer);
  }, [isOn]);
  return now;
}

/** Seconds talked until now, by the clock; at most what the reservation allows. */
function talkedSeconds(/** @type {any} */ call, /** @type {number} */ now) {
  if (!call.answered_at) return 0;
  const real = Math.max(0, (now - new Date(call.answered_at).getTime()) / 1000);
  return Math.min(call.limit_seconds, Math.floor(real * call.pace));
}

/** When the reserved talk is over. */
function latestEnd(/** @type {any} */ call) {
  if (!call.answered_at) return null;
  return new Date(new Date(call.answered_at).getTime() + (call.limit_seconds / call.pace) * 1000).toISOString();
}

/** @param {{share: number, label: string}} props */
export function UsedMeter({ share, label }) {
  const width = `${Math.round(Math.min(1, Math.max(0, share)) * 100)}%`;
  return html`<div class="meter" role="img" aria-label=${label}><i class="c1" ref=${(/** @type {HTMLElement | null} */ box) => { if (box) box.style.width = width; }}></i></div>`;
}

/** @param {{call: any}} props */
export function CallFigures({ call }) {
  const isOn = isTalking(call);
  const now = useNow(isOn);
  const legs = legsOf(call);
  if (isOn) return html`<${Talking} call=${call} legs=${legs} seconds=${talkedSeconds(call, now)} />`;
  return isOver(call) ? html`<${Over} call=${call} legs=${legs} />` : html`<${Before} call=${call} legs=${legs} />`;
}

/** The price in a sentence: its rate, in which steps, and that it stays. @param {{legs: any[]}} props */
function Rate({ legs }) {
  const fee_paise = legs.reduce((sum, leg) => sum + (paise(leg.connection_fee) ?? 0), 0);
  const first = legs[0];
  if (!first) return null;
  return html`<p class="small muted">${t(legs.length > 1 ? "calls.rate_both" : "calls.rate_one", { rate: money(perMinute(legs)), steps: steps(first) })}
    ${fee_paise > 0 ? ` ${t("calls.plus_fee", { fee: money(fee_paise) })}` : ""} ${t("calls.rate_stays")}</p>`;
}

/** @param {{call: any, legs: any[]}} props */
function Before({ call, legs }) {
  return html`<div><h2 class="muted">${t("calls.nothing_charged_yet")}</h2><div class="figure num">${money(0)}</div></div>
    <dl class="parts"><div><dt>${t("calls.reserved_now")}</dt><dd class="money">${money(paise(call.held))}</dd></div>
      <div><dt>${t("calls.lets_talk")}</dt><dd class="num">${roundly(call.limit_seconds)}</dd></div></dl>
    <p class="small muted">${t("calls.only_if_answered")}</p><${Rate} legs=${legs} />`;
}

/** @param {{call: any, legs: any[], seconds: number}} props */
function Talking({ call, legs, seconds }) {
  const cost_paise = costPaise(seconds, legs);
  const held_paise = paise(call.held) ?? 0;
  const share = held_paise > 0 ? cost_paise / held_paise : 0;
  const grows = call.limit_seconds < call.max_duration_seconds;
  return html`<div><h2 class="muted">${t("calls.talked_until_now")}</h2><div class="figure num" data-testid="talked">${duration(seconds)}</div></div>
    <dl class="parts"><div><dt>${t("calls.cost_until_now")}</dt><dd class="money" data-testid="cost">${money(cost_paise)}</dd></div>
      <div><dt>${t("calls.reserved_now")}</dt><dd class="money">${money(held_paise)}</dd></div>
      <div><dt>${t("calls.latest_end")}</dt><dd class="num">${time(latestEnd(call), { seconds: true })}</dd></div></dl>
    <${UsedMeter} share=${share} label=${t("calls.share_used", { share: Math.round(share * 100) })} />
    <${Arithmetic} seconds=${seconds} legs=${legs} cost_paise=${cost_paise} />
    <p class="small muted">${t(grows ? "calls.grows" : "calls.grows_no_more", { longest: roundly(call.max_duration_seconds) })} ${t("calls.final_later")}</p>
    ${call.pace !== 1 ? html`<p class="xs muted">${t("calls.faster")}</p>` : null}
    <${Rate} legs=${legs} />`;
}

/** @param {{call: any, legs: any[]}} props */
function Over({ call, legs }) {
  if (!isSettled(call)) {
    return html`<div><h2 class="muted">${t("calls.cost")}</h2><div class="figure num">—</div></div>
      <dl class="parts"><div><dt>${t("calls.reserved_now")}</dt><dd class="money">${money(paise(call.held))}</dd></div></dl>
      <p class="small muted">${t(call.billing_status === "review" ? "calls.meanings.review" : call.billing_status === "pending_duration" ? "calls.meanings.pending_duration" : "calls.meanings.settling")}</p>`;
  }
  const seconds = call.duration_seconds ?? 0;
  const cost_paise = paise(call.cost);
  return html`<div><h2 class="muted">${t("calls.charged")}</h2><div class="figure money" data-testid="charged">${money(cost_paise)}</div></div>
    <dl class="parts"><div><dt>${t("calls.talked")}</dt><dd class="num">${seconds > 0 ? duration(seconds) : "—"}</dd></div>
      <div><dt>${t("calls.reserved_now")}</dt><dd class="money">${money(paise(call.held))}</dd></div>
      ${call.due > 0 ? html`<div class="due"><dt>${t("balance.due")}</dt><dd class="money">${money(paise(call.due))}</dd></div>` : null}</dl>
    <${Arithmetic} seconds=${seconds} legs=${legs} cost_paise=${cost_paise} />
    ${call.due > 0 ? html`<p class="small">${t("calls.due_why")}</p>` : null}
    ${seconds > 0 ? html`<${Rate} legs=${legs} />` : null}`;
}
