// @ts-check
/** The latest movements of money, and what a new user does first. */

import { useData } from "../core/data.js";
import { money, paise, shortId, time } from "../core/format.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { Money } from "./money.js";
import { recharge } from "./recharge.js";
import { Empty, Shown } from "./states.js";
import { Table } from "./table.js";

/** @param {{of: any}} props */
export function LatestCard({ of }) {
  return html`<section class="card"><header><h2>${t("home.latest")}</h2><a class="small" href="/transactions">${t("home.all_transactions")}</a></header>
    <${Shown} of=${of} lines=${5}>${(/** @type {any} */ found) => found.transactions.length ? html`<${Rows} rows=${found.transactions} />` : html`<${Empty} title=${t("home.no_transactions")}><span class="small">${t("home.no_transactions_hint")}</span><//>`}<//></section>`;
}

/** The transactions that the home page shows. */
export const useLatest = () => useData("/api/transactions", { limit: 5 }, { live: ["balance"] });

/** @param {{rows: any[]}} props */
function Rows({ rows }) {
  const columns = [
    { title: t("home.time"), show: (/** @type {any} */ row) => html`<a class="num" href=${`/transactions/${encodeURIComponent(row.id)}`}>${time(row.created_at)}</a>` },
    { title: t("home.what"), show: (/** @type {any} */ row) => html`${named("home.categories", row.category)}<span class="sub"><${About} row=${row} /></span>` },
    { title: t("home.amount"), isNumber: true, show: (/** @type {any} */ row) => html`<${Money} amount_paise=${(row.type === "debit" ? -1 : 1) * (paise(row.amount) ?? 0)} sign kind=${row.type} />` },
    { title: t("home.balance_after"), isNumber: true, isMinor: true, show: (/** @type {any} */ row) => html`<span class="muted">${money(paise(row.balance_after))}</span>` },
  ];
  return html`<${Table} caption=${t("home.latest")} columns=${columns} rows=${rows} id=${(/** @type {any} */ row) => row.id} />`;
}

/** What it belongs to. @param {{row: any}} props */
function About({ row }) {
  if (row.call_id) return html`<a href=${`/calls/${encodeURIComponent(row.call_id)}`}><bdi>${row.description}</bdi></a>`;
  if (row.order_id) return html`<a href=${`/payments/${encodeURIComponent(row.order_id)}`}><bdi>${row.description}</bdi></a> ${row.payment_id ? html`<span class="mono">${shortId(row.payment_id)}</span>` : null}`;
  return html`<bdi>${row.description}</bdi>`;
}

/** For whoever has just come: what comes first, and what then. */
export function FirstSteps() {
  return html`<section class="card first"><header><h2>${t("home.first")}</h2></header><ol class="body first-steps">
    <li><strong>${t("home.first_recharge")}</strong><span class="sub small muted">${t("home.first_recharge_why")}</span><button class="btn" type="button" onClick=${() => void recharge()}>${t("home.first_recharge_do")}</button></li>
    <li><strong>${t("home.first_call")}</strong><span class="sub small muted">${t("home.first_call_why")}</span><a class="btn quiet" href="/calls/new">${t("calls.place")}</a></li>
    <li><strong>${t("home.first_campaign")}</strong><span class="sub small muted">${t("home.first_campaign_why")}</span><a class="btn quiet" href="/campaigns/new">${t("home.new_campaign")}</a></li>
  </ol></section>`;
}
