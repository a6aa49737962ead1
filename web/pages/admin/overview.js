// @ts-check
/** Overview: what all wallets hold now, what a range of days brought, and what it was in the days before. */

import { Change, RangePicker, rangeOf, shownRange } from "../../components/admin_range.js";
import { Chart } from "../../components/chart.js";
import { Icon } from "../../components/icon.js";
import { BalanceParts } from "../../components/money.js";
import { Page } from "../../components/shell.js";
import { Empty, Failed, Loading, Shown, Tag } from "../../components/states.js";
import { Figure, Table } from "../../components/table.js";
import { address } from "../../core/api.js";
import { useData } from "../../core/data.js";
import { count, dateInIndia, day, money, paise, percent, shownRupees } from "../../core/format.js";
import { html } from "../../core/html.js";
import { query } from "../../core/router.js";
import { named, t } from "../../core/texts.js";

const AGAIN_MS = 20_000;

export default function OverviewPage() {
  const { now, before } = rangeOf(query.value);
  const dates = { from: now.from, to: now.to };
  const current = useData("/api/admin/metrics", dates, { every_ms: AGAIN_MS });
  const earlier = useData("/api/admin/metrics", { from: before.from, to: before.to });
  return html`<${Page} title=${t("nav.overview")} page=${html`
    <${Wallets} of=${current} />
    <div class="row spread"><h2>${t("overview.in_range", { range: shownRange(now) })}</h2>
      <div class="row"><${RangePicker} /><a class="btn" href=${address("/api/admin/metrics/download", dates)} download><${Icon} name="down" />${t("overview.csv")}</a></div></div>
    ${earlier.problem && current.data ? html`<${Failed} problem=${earlier.problem} retry=${earlier.reload} />` : null}
    <${Shown} of=${current} lines=${8}>${(/** @type {any} */ found) => html`
      <${Figures} found=${found} before=${earlier.data} />
      <p class="small muted">${t("overview.compared", { range: shownRange(before) })}${now.to === dateInIndia() ? ` ${t("overview.not_over")}` : ""}</p>
      <${Charts} found=${found} before=${earlier.data} />
      <${Reasons} found=${found} before=${earlier.data} />`}<//>`} />`;
}

/** What all wallets hold, and what is going on; as it is now, whatever the range. @param {{of: any}} props */
function Wallets({ of }) {
  const found = of.data;
  const waiting = useData("/api/admin/adjustments", { limit: 50 }, { every_ms: AGAIN_MS * 3 });
  if (of.isLoading) return html`<${Loading} lines=${3} />`;
  const balance_paise = paise(found?.total_wallet_balance);
  const held_paise = paise(found?.total_held);
  const isKnown = balance_paise !== null && held_paise !== null;
  const parts = isKnown ? { balance_paise, held_paise, available_paise: balance_paise - held_paise, due_paise: paise(found.total_due) ?? 0 } : null;
  const many = waiting.data?.adjustments.length;
  const rows = [
    ["live", found?.live_calls, "/calls?status=in_progress"],
    ["in_review", found?.payments_in_review, "/admin/review"],
    ["low", found?.low_balance_users, "/admin/users?low_balance=true"],
    ["adjustments", waiting.data ? many : null, "/admin/users?show=waiting"],
  ];
  return html`<div class="grid g2">
    <section class="card balance"><div class="body"><h2 class="muted">${t("overview.total")}</h2>
      <div class="figure money">${money(balance_paise)}</div>
      ${found ? html`<p class="small muted">${t("overview.wallets", { count: count(found.users) })}</p>` : null}
      <${BalanceParts} balance=${parts} /></div></section>
    <section class="card"><header><h2>${t("overview.now")}</h2></header><div class="body"><ul class="plain">
      ${rows.map(([key, value, href]) => html`<li key=${key} class="row spread"><a href=${href}>${t(`overview.nows.${key}`)}</a>
        <span class="row tight">${key !== "live" && key !== "low" && value ? html`<${Tag} kind="warn">${t("overview.waits")}<//>` : null}<strong class="num">${count(/** @type {any} */ (value))}${key === "adjustments" && waiting.data?.next_cursor ? "+" : ""}</strong></span></li>`)}
    </ul></div></section></div>`;
}

/** @param {{found: any, before: any}} props */
function Figures({ found, before }) {
  const calls = found.calls;
  return html`<div class="grid g4">
    <${Figure} title=${t("overview.recharged")} value=${shownRupees(found.recharges.total)}>
      <${Change} now=${found.recharges.total} before=${before?.recharges.total} show=${shownRupees} /><span class="sub">${t("overview.recharges", { count: count(found.recharges.count) })}</span><//>
    <${Figure} title=${t("overview.average")} value=${found.recharges.count ? shownRupees(found.recharges.average) : "—"}>
      ${found.recharges.count && before?.recharges.count !== 0 ? html`<${Change} now=${found.recharges.average} before=${before?.recharges.average} show=${shownRupees} />` : t("overview.no_average")}<//>
    <${Figure} title=${t("overview.cost")} value=${shownRupees(calls.total_cost)}>
      <${Change} now=${calls.total_cost} before=${before?.calls.total_cost} show=${shownRupees} />
      <span class="sub">${t("overview.calls", { calls: count(calls.count), answered: count(calls.answered) })}</span>
      <span class="sub">${calls.answered ? t("overview.a_call", { cost: shownRupees(calls.average_cost) }) : null}</span><//>
    <${Figure} title=${t("overview.failed")} value=${count(found.failed_payments)}>
      <${Change} now=${found.failed_payments} before=${before?.failed_payments} show=${count} isBadUp />
      <span class="sub">${t("overview.failed_share", { share: found.recharges.count + found.failed_payments ? percent(found.failed_payments / (found.recharges.count + found.failed_payments)) : "—" })}</span><//>
  </div>`;
}

/** Call cost and payments a day; each with the table behind it. @param {{found: any, before: any}} props */
function Charts({ found, before }) {
  const labels = found.series.map((/** @type {any} */ one) => day(one.date));
  const values = (/** @type {string} */ name) => found.series.map((/** @type {any} */ one) => one[name]);
  const cost = [{ title: t("overview.cost_now"), values: found.series.map((/** @type {any} */ one) => paise(one.call_cost)), colour: 1 }];
  if (before?.calls.count > 0 && before.series.length === found.series.length && labels.length > 1) {
    cost.push({ title: t("overview.cost_before"), values: before.series.map((/** @type {any} */ one) => paise(one.call_cost)), colour: 6 });
  }
  const payments = [
    { title: t("overview.paid"), values: values("recharges"), colour: 1 },
    { title: t("overview.failed_ones"), values: values("failed_payments"), colour: 5 },
  ];
  return html`<div class="grid halves">
    <section class="card"><header><h2>${t("overview.cost_a_day")}</h2></header><div class="body">
      ${found.calls.count || before?.calls.count ? html`<${Chart} title=${t("overview.cost_a_day")} labels=${labels} series=${cost} show=${money} kind=${labels.length < 2 ? "bars" : "line"} />` : html`<${Empty} icon="phone" title=${t("overview.no_calls")}><span class="small">${t("overview.no_calls_hint")}</span><//>`}</div></section>
    <section class="card"><header><h2>${t("overview.payments_a_day")}</h2></header><div class="body">
      ${found.recharges.count || found.failed_payments ? html`<${Chart} title=${t("overview.payments_a_day")} labels=${labels} series=${payments} show=${count} kind="bars" />` : html`<${Empty} icon="card" title=${t("overview.no_payments")}><span class="small">${t("overview.no_payments_hint")}</span><//>`}</div></section>
  </div>`;
}

/** Why payments failed, as Razorpay says it. @param {{found: any, before: any}} props */
function Reasons({ found, before }) {
  const rows = found.failed_payments_by_reason;
  const all = found.failed_payments;
  /** @type {Map<string, number>} */
  const earlier = new Map((before?.failed_payments_by_reason ?? []).map((/** @type {any} */ one) => [`${one.reason}/${one.code}`, one.count]));
  const columns = [
    { title: t("overview.reason"), show: (/** @type {any} */ row) => html`${row.reason ? named("overview.reasons", row.reason) : t("overview.reasons.none")}<span class="sub mono">${[row.reason, row.code].filter(Boolean).join(" · ")}</span>` },
    { title: t("overview.share"), isMinor: true, show: (/** @type {any} */ row) => html`<meter min="0" max=${all} value=${row.count} aria-label=${t("overview.share")}></meter> <span class="num small">${percent(row.count / all)}</span>` },
    { title: t("overview.payments"), isNumber: true, show: (/** @type {any} */ row) => count(row.count) },
    { title: t("overview.before"), isNumber: true, isMinor: true, show: (/** @type {any} */ row) => (before ? count(earlier.get(`${row.reason}/${row.code}`) ?? 0) : "—") },
  ];
  return html`<section class="card"><header><h2>${t("overview.by_reason")}</h2><a class="small" href="/payments">${t("nav.payments")}</a></header>
    ${rows.length ? html`<${Table} caption=${t("overview.by_reason")} columns=${columns} rows=${rows} id=${(/** @type {any} */ row) => `${row.reason}/${row.code}`} />`
      : html`<${Empty} icon="check" title=${t("overview.none_failed")} />`}</section>`;
}
