// @ts-check
/** Transactions: every movement of money, filtered by what stands in the URL, and what exactly that adds up to. */

import { Icon } from "../components/icon.js";
import { Money } from "../components/money.js";
import { recharge } from "../components/recharge.js";
import { Page } from "../components/shell.js";
import { Empty, Shown } from "../components/states.js";
import { Figure, Pages, Table } from "../components/table.js";
import { address } from "../core/api.js";
import { useData } from "../core/data.js";
import { count, day, money, paise, shortId, time } from "../core/format.js";
import { html } from "../core/html.js";
import { query } from "../core/router.js";
import { isStaff, me } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { Filters, clearFilters, filterOf } from "./transactions_filters.js";

/** An amount as the movement that it is: −₹5.00 or +₹500.00. */
export const moved_paise = (/** @type {any} */ row) => (row.type === "debit" ? -1 : 1) * (paise(row.amount) ?? 0);

/** @param {{row: any}} props */
function What({ row }) {
  const of = row.call_id ?? row.payment_id ?? row.campaign_id;
  return html`<a class="quiet-link" href=${`/transactions/${encodeURIComponent(row.id)}`}><bdi class="clamp">${row.description}</bdi></a>
    <span class="sub">${named("transactions.category", row.category)}${of ? html` · <span class="mono" title=${of}>${shortId(of)}</span>` : null}</span>`;
}

function columns() {
  const all = [
    { title: t("transactions.time"), show: (/** @type {any} */ row) => html`<time class="num" datetime=${row.created_at}>${time(row.created_at)}</time>` },
    { title: t("transactions.what"), show: (/** @type {any} */ row) => html`<${What} row=${row} />` },
    { title: t("transactions.amount"), isNumber: true, show: (/** @type {any} */ row) => html`<${Money} amount_paise=${moved_paise(row)} sign kind=${row.type === "credit" ? "credit" : "debit"} />` },
    { title: t("transactions.after"), isNumber: true, isMinor: true, show: (/** @type {any} */ row) => html`<span class="muted">${money(paise(row.balance_after))}</span>` },
  ];
  if (isStaff.value) {
    all.splice(2, 0, { title: t("transactions.user_short"), show: (/** @type {any} */ row) => html`<a class="quiet-link" href=${`/admin/users/${encodeURIComponent(row.user_id)}`}><bdi class="clamp who">${row.user_email ?? shortId(row.user_id)}</bdi></a>` });
  }
  return all;
}

/** The period of the filter in words. */
function period(/** @type {Record<string, any>} */ chosen) {
  const shown = (/** @type {string} */ when) => (when.length === 10 ? day(when) : time(when, { seconds: true }));
  if (!chosen["from"] && !chosen["to"]) return t("transactions.always");
  if (chosen["from"] && chosen["from"] === chosen["to"]) return shown(chosen["from"]);
  return t("transactions.period", { from: chosen["from"] ? shown(chosen["from"]) : t("transactions.beginning"), to: chosen["to"] ? shown(chosen["to"]) : t("transactions.now") });
}

/** What is shown, added up: credits − debits = net. @param {{summary: any, chosen: Record<string, any>}} props */
function Summary({ summary, chosen }) {
  const credits_paise = paise(summary?.total_credits);
  const debits_paise = paise(summary?.total_debits);
  const net_paise = credits_paise === null || debits_paise === null ? null : credits_paise - debits_paise;
  const all = summary ? summary.credit_count + summary.debit_count : null;
  return html`<div class="grid g4">
    <${Figure} title=${t("transactions.credits")} value=${html`<span class="credit">${money(credits_paise)}</span>`}>${t("transactions.movements", { count: summary?.credit_count, number: count(summary?.credit_count) })}<//>
    <${Figure} title=${t("transactions.debits")} value=${money(debits_paise)}>${t("transactions.movements", { count: summary?.debit_count, number: count(summary?.debit_count) })}<//>
    <${Figure} title=${t("transactions.net")} value=${money(net_paise)}>${t("transactions.net_of")} · ${period(chosen)}<//>
    <section class="card"><div class="body stack tight"><a class="btn" href=${address("/api/transactions/download", { ...chosen, excel: "true" })} download><${Icon} name="down" />${t("actions.csv")}</a>
      <span class="xs muted">${t("transactions.csv_all", { count: all, number: count(all) })}</span></div></section>
  </div>`;
}

/** @param {{isFiltered: boolean}} props */
function None({ isFiltered }) {
  if (isFiltered) {
    return html`<${Empty} title=${t("transactions.none_match")}><span class="small">${t("transactions.none_match_hint")}</span><button class="btn" type="button" onClick=${clearFilters}>${t("transactions.clear")}</button><//>`;
  }
  return html`<${Empty} title=${t("transactions.none")}><span class="small">${t(isStaff.value ? "transactions.none_hint_staff" : "transactions.none_hint")}</span>
    ${isStaff.value ? null : html`<button class="btn" type="button" onClick=${() => void recharge()}>${t("actions.recharge")}</button>`}<//>`;
}

export default function TransactionsPage() {
  const chosen = filterOf(query.value);
  const cursor = query.value.get("cursor");
  const isOwn = (/** @type {any} */ told) => told.user_id === me.value?.id;
  const of = useData("/api/transactions", { ...chosen, cursor }, isStaff.value || cursor ? {} : { live: ["balance"], matches: isOwn });
  const isFiltered = Object.values(chosen).some(Boolean);
  return html`<${Page} title=${t("nav.transactions")} page=${html`
    <${Summary} summary=${of.data?.summary} chosen=${chosen} />
    <section class="card"><${Filters} chosen=${chosen} problem=${of.problem} />
      <${Shown} of=${of} lines=${8}>${(/** @type {any} */ page) => html`${page.transactions.length === 0
          ? html`<${None} isFiltered=${isFiltered} />`
          : html`<${Table} caption=${t("nav.transactions")} columns=${columns()} rows=${page.transactions} id=${(/** @type {any} */ row) => row.id} />`}
        <${Pages} next=${page.next_cursor} />`}<//>
    </section>`} />`;
}
