// @ts-check
/** The figures of a campaign: when, from which number and at which attempt people answer. */

import { useData } from "../core/data.js";
import { count, duration, money, paise, percent, phone, time } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { pathOf } from "./campaign_actions.js";
import { WEEKDAYS } from "./campaign_plan.js";
import { doneOf, isOver, unreachedOf } from "./campaign_status.js";
import { Failed } from "./states.js";
import { Figure, Table } from "./table.js";

const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
const LEVELS = 5;

/** The statistics of one campaign, and those of all of its owner. */
export function useFigures(/** @type {any} */ campaign) {
  const live = campaign && !isOver(campaign) ? { live: ["campaign"], matches: (/** @type {any} */ told) => told.campaign_id === campaign.campaign_id } : {};
  const own = useData(campaign ? `${pathOf(campaign)}/statistics` : null, {}, live);
  const all = useData(campaign ? "/api/campaigns/statistics" : null, { user_id: campaign?.user_id });
  return { own, all };
}

/** @param {{campaign: any, own: any, all: any}} props */
export function KeyFigures({ campaign, own, all }) {
  const calls = own.data?.calls;
  const spent_paise = paise(campaign.spent);
  const each = calls?.answered && spent_paise !== null ? Math.round(spent_paise / calls.answered) : null;
  const others = all.data?.calls?.connect_rate;
  const apart = calls && calls.connect_rate !== null && typeof others === "number" && all.data.calls.ended > calls.ended ? Math.round((calls.connect_rate - others) * 1000) / 10 : null;
  const left = campaign.estimate;
  const cost_paise = paise(left?.cost);
  return html`<div class="grid g4">
    <${Figure} title=${t("campaigns.spent")} value=${money(spent_paise)}>${campaign.budget === null ? t("campaigns.figures.no_budget") : t("campaigns.figures.of_budget", { budget: money(paise(campaign.budget)) })}<//>
    <${Figure} title=${t("campaigns.figures.each")} value=${money(each)}>${calls?.average_talk_seconds ? t("campaigns.figures.average", { time: duration(calls.average_talk_seconds) }) : calls ? t("campaigns.figures.nobody_yet") : null}<//>
    <${Figure} title=${t("campaigns.figures.connect_rate")} value=${percent(calls?.connect_rate)}>${calls?.dialled ? t("campaigns.figures.of_dialled", { answered: count(calls.answered), dialled: count(calls.dialled) }) : calls ? t("campaigns.figures.none_dialled") : null}${apart === null ? null : html` · <span class=${apart >= 0 ? "up" : "down"}>${apart >= 0 ? "+" : "−"}${Math.abs(apart)}</span> ${t("campaigns.figures.against_all")}`}<//>
    ${isOver(campaign)
      ? html`<${Figure} title=${t("campaigns.figures.unreached")} value=${count(unreachedOf(campaign.counts))}>${t("campaigns.figures.talked", { time: duration(calls?.talk_seconds) })}<//>`
      : html`<${Figure} title=${t("campaigns.figures.to_finish")} value=${left ? money(cost_paise) : campaign.counts ? money(0) : money(null)}>${left ? (left.affordable_contacts >= left.contacts - left.unrated_contacts ? t("campaigns.figures.affords_all") : t("campaigns.figures.affords", { count: count(left.affordable_contacts), all: count(left.contacts) })) : t("campaigns.figures.nobody_left")}<//>`}
  </div>${own.problem && !own.data ? html`<${Failed} problem=${own.problem} retry=${own.reload} />` : null}`;
}

/** How fast it is and when it will be over, in a line. */
export function paceText(/** @type {any} */ campaign, /** @type {any} */ own) {
  if (campaign.status !== "running") return campaign.completed_at ? t("campaigns.figures.over", { time: time(campaign.completed_at) }) : "";
  const eta = own.data?.eta ?? campaign.eta;
  const parts = [];
  if (eta) parts.push(t("campaigns.figures.eta", { time: time(eta) }));
  if (own.data?.calls?.calls_per_minute) parts.push(t("campaigns.figures.a_minute", { count: count(own.data.calls.calls_per_minute) }));
  return parts.join(" · ") || (doneOf(campaign.counts) ? "" : t("campaigns.figures.no_eta"));
}

/** When people answer: weekdays and hours, darker where more do; the same as a table. @param {{cells: any[]}} props */
export function HeatMap({ cells }) {
  const [isTable, setIsTable] = useState(false);
  const found = new Map(cells.map((one) => [`${one.weekday} ${one.hour}`, one]));
  const hour = (/** @type {number} */ at) => `${String(at).padStart(2, "0")}:00`;
  const told = (/** @type {any} */ one) => t("campaigns.heat.cell", { day: named("campaigns.weekdays", one.weekday), hour: hour(one.hour), answered: count(one.answered), dialled: count(one.dialled), rate: percent(one.connect_rate) });
  const best = !cells.some((one) => one.answered) ? undefined : cells.filter((one) => one.dialled >= 5).sort((a, b) => b.connect_rate - a.connect_rate)[0] ?? [...cells].sort((a, b) => b.connect_rate - a.connect_rate)[0];
  const level = (/** @type {any} */ one) => (one ? Math.min(LEVELS, Math.floor((one.connect_rate ?? 0) * LEVELS) + 1) : 0);
  const columns = [
    { title: t("campaigns.heat.day"), show: (/** @type {any} */ one) => named("campaigns.weekdays", one.weekday) },
    { title: t("campaigns.heat.hour"), show: (/** @type {any} */ one) => hour(one.hour) },
    ...rateColumns(),
  ];
  return html`<section class="card"><header><h2>${t("campaigns.heat.title")}</h2><button class="btn quiet xs" type="button" aria-pressed=${String(isTable)} onClick=${() => setIsTable(!isTable)}>${t(isTable ? "chart.as_chart" : "chart.as_table")}</button></header>
    ${isTable ? html`<div class="chart-table"><${Table} caption=${t("campaigns.heat.title")} columns=${columns} rows=${cells} id=${(/** @type {any} */ one) => `${one.weekday}${one.hour}`} /></div>`
      : html`<div class="body stack"><div class="heat" role="img" aria-label=${t("campaigns.heat.summary", { best: best ? told(best) : "—" })}>
        ${WEEKDAYS.map((day) => html`<span key=${day} class="heat-day">${named("campaigns.weekdays", day)}</span>${HOURS.map((at) => { const one = found.get(`${day} ${at}`); return html`<i key=${`${day}${at}`} class=${`h${level(one)}`} title=${one ? told(one) : undefined}></i>`; })}`)}
        <span></span>${HOURS.map((at) => html`<span key=${at} class="heat-hour">${at % 3 === 0 ? String(at).padStart(2, "0") : ""}</span>`)}</div>
        <div class="legend xs"><span><i class="h0"></i>${t("campaigns.heat.none")}</span><span><i class="h1"></i>${t("campaigns.heat.few")}</span><span><i class="h5"></i>${t("campaigns.heat.most")}</span>${best ? html`<span>${t("campaigns.heat.best")} <b>${told(best)}</b></span>` : null}</div></div>`}</section>`;
}

const rateColumns = () => [
  { title: t("campaigns.heat.dialled"), isNumber: true, show: (/** @type {any} */ one) => count(one.dialled) },
  { title: t("campaigns.heat.answered"), isNumber: true, show: (/** @type {any} */ one) => count(one.answered) },
  { title: t("campaigns.figures.rate"), isNumber: true, show: (/** @type {any} */ one) => percent(one.connect_rate) },
];

/** By attempt, by caller id, by how the calls ended. @param {{calls: any}} props */
export function Breakdown({ calls }) {
  const attempts = [{ title: t("campaigns.figures.attempt"), show: (/** @type {any} */ one) => t("campaigns.figures.nth", { n: one.attempt }) }, ...rateColumns()];
  const callers = [{ title: t("campaigns.figures.caller_id"), show: (/** @type {any} */ one) => (one.caller_id === "default" ? t("campaigns.figures.default_caller") : phone(one.caller_id)) }, ...rateColumns()];
  const ends = Object.entries(calls.by_disposition).map(([name, number]) => ({ name, number: Number(number) })).sort((a, b) => b.number - a.number);
  const dispositions = [
    { title: t("campaigns.figures.ended"), show: (/** @type {any} */ one) => named("campaigns.dispositions", one.name) },
    { title: t("campaigns.figures.calls"), isNumber: true, show: (/** @type {any} */ one) => count(one.number) },
    { title: t("campaigns.figures.share"), isNumber: true, show: (/** @type {any} */ one) => percent(calls.ended ? one.number / calls.ended : null) },
  ];
  return html`<div class="grid thirds">
    <section class="card"><header><h2>${t("campaigns.figures.by_attempt")}</h2></header><${Table} caption=${t("campaigns.figures.by_attempt")} columns=${attempts} rows=${calls.by_attempt} id=${(/** @type {any} */ one) => String(one.attempt)} /></section>
    <section class="card"><header><h2>${t("campaigns.figures.by_caller")}</h2></header><${Table} caption=${t("campaigns.figures.by_caller")} columns=${callers} rows=${calls.by_caller_id} id=${(/** @type {any} */ one) => one.caller_id} /></section>
    <section class="card"><header><h2>${t("campaigns.figures.by_end")}</h2></header><${Table} caption=${t("campaigns.figures.by_end")} columns=${dispositions} rows=${ends} id=${(/** @type {any} */ one) => one.name} /></section></div>`;
}

