// @ts-check
/** What was spent a day, over the last thirty. */

import { count, day, money, paise } from "../core/format.js";
import { html } from "../core/html.js";
import { t } from "../core/texts.js";
import { Chart } from "./chart.js";
import { Empty, Shown } from "./states.js";

/** @param {{of: any}} props what GET /api/wallet/days answers */
export function SpendCard({ of }) {
  const found = of.data;
  return html`<section class="card"><header><h2>${t("home.spend")}</h2>${found ? html`<span class="small muted num">${t("home.spend_total", { days: found.days.length, total: money(paise(found.spent)) })}</span>` : null}</header>
    <${Shown} of=${of} lines=${5}>${(/** @type {any} */ data) => (data.spent > 0 ? html`<${Days} data=${data} />` : html`<${Empty} icon="chart" title=${t("home.nothing_spent", { days: data.days.length })}><span class="small">${t("home.nothing_spent_hint")}</span><//>`)}<//></section>`;
}

/** @param {{data: any}} props */
function Days({ data }) {
  const labels = data.days.map((/** @type {any} */ one) => day(one.date));
  const series = [{ title: t("home.spent"), colour: 1, values: data.days.map((/** @type {any} */ one) => paise(one.spent)) }];
  return html`<div class="body stack"><${Chart} kind="bars" title=${t("home.spend")} labels=${labels} series=${series} show=${money} />
    <p class="small muted">${t("home.charged_calls", { count: data.charged_calls, number: count(data.charged_calls) })}</p></div>`;
}
