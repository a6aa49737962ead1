// @ts-check
/** Users: search and filters in the URL, what is in each wallet, and the adjustments that wait for a second admin. */

import { CreateUser } from "../../components/admin_create_user.js";
import { Waiting } from "../../components/admin_waiting.js";
import { Button, Chips, Field } from "../../components/field.js";
import { Icon } from "../../components/icon.js";
import { Page } from "../../components/shell.js";
import { Empty, Shown, Tag } from "../../components/states.js";
import { Pages, Table } from "../../components/table.js";
import { address } from "../../core/api.js";
import { useData } from "../../core/data.js";
import { day, phone, shownRupees } from "../../core/format.js";
import { html, useEffect, useState } from "../../core/html.js";
import { query, setQuery } from "../../core/router.js";
import { isAdmin } from "../../core/session.js";
import { named, t } from "../../core/texts.js";

export default function UsersPage() {
  const [isCreating, setIsCreating] = useState(false);
  const [turn, setTurn] = useState(0);
  const isWaiting = query.value.get("show") === "waiting";
  const button = isAdmin.value ? html`<${Button} kind="primary" onClick=${() => setIsCreating(true)}><${Icon} name="plus" />${t("users.create.open_form")}<//>` : null;
  return html`<${Page} title=${t("nav.users")} page=${html`
    <${Filters} />
    ${isWaiting ? html`<${Waiting} />` : html`<${List} turn=${turn} />`}
    ${isCreating ? html`<${CreateUser} onClose=${() => setIsCreating(false)} onCreated=${() => setTurn(turn + 1)} />` : null}`}>${button}<//>`;
}

/** The filter of the list as the API has it. */
function filter() {
  const low = query.value.get("low_balance");
  return { search: query.value.get("search") || undefined, low_balance: low === "true" || low === "false" ? low : undefined };
}

function Filters() {
  const stored = query.value.get("search") ?? "";
  const [text, setText] = useState(stored);
  useEffect(() => setText(stored), [stored]);
  const chosen = query.value.get("show") === "waiting" ? "waiting" : { true: "low", false: "enough" }[query.value.get("low_balance") ?? ""] ?? "all";
  const choose = (/** @type {string} */ key) =>
    setQuery({ low_balance: { low: "true", enough: "false" }[key] ?? null, show: key === "waiting" ? "waiting" : null, cursor: null, waiting_cursor: null });
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    setQuery({ search: text.trim(), cursor: null, show: null });
  };
  return html`<div class="row spread">
    <form class="filters wide-search" role="search" onSubmit=${send}>
      <${Field} label=${t("users.search")} type="search" value=${text} onInput=${setText} maxlength="100" placeholder=${t("users.search_hint")} />
      <${Button} type="submit">${t("search.open")}<//>
      ${stored ? html`<${Button} kind="quiet" onClick=${() => setQuery({ search: null, cursor: null })}>${t("users.clear")}<//>` : null}
    </form>
    <div class="row"><${Chips} label=${t("users.filter")} value=${chosen} onChoose=${choose} options=${["all", "low", "enough", "waiting"].map((key) => [key, t(`users.filters.${key}`)])} />
      <a class="btn" href=${address("/api/admin/users/download", filter())} download><${Icon} name="down" />${t("actions.csv")}</a></div>
  </div>`;
}

/** The states of an account that matter to whoever looks at a list. @param {{of: any}} props */
export function Marks({ of }) {
  const marks = [];
  if (of.disabled) marks.push(["bad", t("users.disabled")]);
  if (of.frozen && !of.disabled) marks.push(["bad", t("users.frozen")]);
  if (of.due > 0) marks.push(["warn", t("users.owes", { amount: shownRupees(of.due) })]);
  if (of.low_balance && of.role === "user") marks.push(["warn", t("users.low")]);
  if (of.role !== "user") marks.push(["", named("roles", of.role)]);
  return html`<span class="row tight">${marks.map(([kind, text]) => html`<${Tag} key=${text} kind=${kind}>${text}<//>`)}</span>`;
}

/** @param {{turn: number}} props */
function List({ turn }) {
  const of = useData("/api/admin/users", { ...filter(), limit: 50, cursor: query.value.get("cursor") });
  useEffect(() => {
    if (turn) of.reload();
  }, [turn]);
  const columns = [
    { title: t("users.user"), show: (/** @type {any} */ row) => html`<a href=${`/admin/users/${encodeURIComponent(row.id)}`}><bdi>${row.name || row.email}</bdi></a><span class="sub"><bdi>${row.email}</bdi>${row.phone ? html` · <span class="num">${phone(row.phone)}</span>` : null}</span>` },
    { title: t("users.state"), show: (/** @type {any} */ row) => html`<${Marks} of=${row} />` },
    { title: t("balance.balance"), isNumber: true, isMinor: true, show: (/** @type {any} */ row) => shownRupees(row.balance) },
    { title: t("balance.held"), isNumber: true, isMinor: true, show: (/** @type {any} */ row) => (row.held ? shownRupees(row.held) : html`<span class="muted">${shownRupees(0)}</span>`) },
    { title: t("balance.available"), isNumber: true, show: (/** @type {any} */ row) => html`<strong>${shownRupees(row.available)}</strong>` },
    { title: t("users.own_rate"), isNumber: true, isMinor: true, show: (/** @type {any} */ row) => (row.call_rate === null ? html`<span class="muted">${t("users.no_own_rate")}</span>` : shownRupees(row.call_rate)) },
    { title: t("users.since"), isMinor: true, show: (/** @type {any} */ row) => html`<span class="nowrap">${day(row.created_at)}</span>` },
  ];
  const isFiltered = Boolean(filter().search || filter().low_balance);
  return html`<section class="card"><${Shown} of=${of} lines=${8}>${(/** @type {any} */ found) => html`${found.users.length
    ? html`<${Table} caption=${t("nav.users")} columns=${columns} rows=${found.users} id=${(/** @type {any} */ row) => row.id} />`
    : html`<${Empty} icon="users" title=${t(isFiltered ? "users.none_found" : "users.none")}><span class="small">${t(isFiltered ? "users.none_found_hint" : "users.none_hint")}</span>
      ${isFiltered ? html`<${Button} onClick=${() => setQuery({ search: null, low_balance: null, cursor: null })}>${t("users.show_all")}<//>` : null}<//>`}
    <${Pages} next=${found.next_cursor} />`}<//></section>`;
}
