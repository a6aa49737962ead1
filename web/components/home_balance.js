// @ts-check
/** The balance on the home page: one large figure, what it is made of, how long it talks and lasts. */

import { useData } from "../core/data.js";
import { money, paise } from "../core/format.js";
import { html } from "../core/html.js";
import { balance } from "../core/session.js";
import { t } from "../core/texts.js";
import { legsOf, perMinute, talkTime } from "./call_price.js";
import { atLeast } from "./call_state.js";
import { isNoticed, runwayText } from "./home_runway.js";
import { BalanceParts } from "./money.js";
import { Tag } from "./states.js";

/** @param {{days: any[] | undefined, isKnown: boolean}} props `isKnown`: whether the days could be read, or are being read */
export function BalanceCard({ days, isKnown }) {
  const now = balance.value;
  const rate = useData("/api/wallet/call-rate", {}, {});
  const live = useData("/api/calls", { live: "true", limit: 50 }, { live: ["call"] });
  const running = live.data?.calls.length ?? 0;
  const runway = runwayText(days, now?.available_paise);
  return html`<section class="card balance"><div class="body">
    <div class="row spread"><h2 class="muted">${t("home.available_now")}</h2>
      ${running ? html`<a class="quiet-link" href="/calls?live=true"><${Tag} kind="live">${t("home.running", { count: running, number: atLeast(live.data) })}<//></a>` : live.problem ? html`<span class="small muted">${t("home.running_unknown")}</span>` : html`<span class="small muted">${t("home.none_running")}</span>`}</div>
    <div class="figure money">${money(now?.available_paise)}</div>
    <${Meter} balance=${now} /><${BalanceParts} balance=${now} />
    <dl class="parts"><div><dt>${t("home.talk_time")}</dt><dd>${rate.data ? html`${talkTime(now?.available_paise, legsOf(rate.data))} <span class="muted small">${t(rate.data.rate_card_version === null ? "home.at_rate" : "home.at_rate_about", { rate: money(perMinute(legsOf(rate.data))) })}</span>` : "—"}</dd></div></dl>
    ${runway ? (isNoticed(runway) ? null : html`<p class="small muted runway">${runway.text}</p>`) : isKnown ? null : html`<p class="small muted runway">${t("home.runway_unknown")}</p>`}
  </div></section>`;
}

/** Which part is available, which is reserved. @param {{balance: any}} props */
function Meter({ balance: now }) {
  if (!now || now.balance_paise <= 0) return html`<div class="meter" role="img" aria-label=${now ? t("home.meter_empty") : t("home.meter_unknown")}></div>`;
  const held = Math.min(1, Math.max(0, now.held_paise / now.balance_paise));
  const width = (/** @type {number} */ share) => (/** @type {HTMLElement | null} */ box) => { if (box) box.style.width = `${share * 100}%`; };
  const reserved = Math.round(held * 100);
  return html`<div class="meter" role="img" aria-label=${t("home.meter", { available: 100 - reserved, reserved })}><i class="c1" ref=${width(1 - held)}></i>${held > 0 ? html`<i class="c2" ref=${width(held)}></i>` : null}</div>`;
}

/** Rupees a minute as they are now, for the quick call. */
export const shownRate = (/** @type {any} */ rate) => (rate ? t("home.a_minute", { rate: money(paise(rate.rate_per_minute)) }) : "");
