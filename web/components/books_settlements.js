// @ts-check
/** Settlements: what Razorpay paid out to the bank, and what it kept. */

import { useData } from "../core/data.js";
import { count, day, money, paise } from "../core/format.js";
import { html } from "../core/html.js";
import { query } from "../core/router.js";
import { t } from "../core/texts.js";
import { Empty, Shown, Tag } from "./states.js";
import { Pages, Table } from "./table.js";

const AMOUNTS = ["gross", "fee", "tax", "refunded", "net"];

export function Settlements() {
  const found = useData("/api/admin/settlements", { limit: 50, cursor: query.value.get("cursor") });
  const columns = [
    { title: t("books.settle.day"), show: (/** @type {any} */ row) => html`<span class="nowrap">${day(row.day)}</span><span class="sub mono">${row.settlement_id}</span>` },
    ...AMOUNTS.map((name) => ({ title: t(`books.settle.${name}`), isNumber: true, isMinor: name !== "net", show: (/** @type {any} */ row) => money(paise(row[name])) })),
    { title: t("books.settle.lines"), isNumber: true, isMinor: true, show: (/** @type {any} */ row) => count(row.lines) },
    { title: t("books.settle.unmatched"), show: (/** @type {any} */ row) => (row.unmatched.length ? html`<${Tag} kind="warn">${t("books.settle.strangers", { count: row.unmatched.length })}<//><span class="sub mono">${row.unmatched.slice(0, 5).join(", ")}${row.unmatched.length > 5 ? " …" : ""}</span>` : html`<${Tag} kind="ok">${t("books.settle.all_ours")}<//>`) },
  ];
  return html`<section class="card"><header><h2>${t("books.settle.title")}</h2></header><div class="body small muted">${t("books.settle.sum")}</div>
    <${Shown} of=${found}>${(/** @type {any} */ list) => list.settlements.length ? html`<${Table} caption=${t("books.settle.title")} columns=${columns} rows=${list.settlements} id=${(/** @type {any} */ row) => row.settlement_id} /><${Pages} next=${list.next_cursor} />` : html`<${Empty} icon="card" title=${t("books.settle.none")}><span class="small">${t("books.settle.none_why")}</span><//>`}<//></section>`;
}
