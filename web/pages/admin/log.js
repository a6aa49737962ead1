// @ts-check
/** Audit log: who did what to whom, what it was before and after, and who was refused. */

import { Difference } from "../../components/admin_difference.js";
import { comparable } from "../../components/admin_rules.js";
import { UserLink } from "../../components/admin_waiting.js";
import { Button, Field } from "../../components/field.js";
import { Icon } from "../../components/icon.js";
import { Page } from "../../components/shell.js";
import { Empty, Shown, Tag } from "../../components/states.js";
import { Facts, Pages, Table } from "../../components/table.js";
import { address } from "../../core/api.js";
import { useData } from "../../core/data.js";
import { count, shortId, time } from "../../core/format.js";
import { html, useEffect, useState } from "../../core/html.js";
import { query, setQuery } from "../../core/router.js";
import { named, t } from "../../core/texts.js";

const FILTERS = ["action", "target", "actor", "account", "outcome", "from", "to"];
const OUTCOMES = ["asked", "done", "refused", "failed"];
/** Actions with a name; others can be typed, such as 'POST /api/payment/refunds'. */
const ACTIONS = ["log_in", "sign_up", "change_password", "user.create", "user.change", "wallet.freeze", "wallet.unfreeze", "own_rate.set", "adjustment.post", "adjustment.propose", "adjustment.confirm", "adjustment.reject", "rate.set", "rate_card.create", "rate_card.activate", "calling_rules.change", "complaint.record", "payment.resolve", "call.resolve", "refund.create", "refund.resolve", "dispute.resolve", "webhook.replay", "reconciliation.run", "audit.repair"];
/** @type {Record<string, string>} */
const KINDS = { done: "ok", refused: "bad", failed: "warn", asked: "" };

const filter = () => Object.fromEntries(FILTERS.map((name) => [name, query.value.get(name) || undefined]));

export default function LogPage() {
  return html`<${Page} title=${t("nav.log")} page=${html`<${Filters} /><${List} />`} />`;
}

function Filters() {
  const given = filter();
  const stored = JSON.stringify(given);
  const [texts, setTexts] = useState(/** @type {Record<string, string | undefined>} */ (given));
  useEffect(() => setTexts(JSON.parse(stored)), [stored]);
  const set = (/** @type {string} */ name) => (/** @type {string} */ text) => setTexts({ ...texts, [name]: text });
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    setQuery({ ...Object.fromEntries(FILTERS.map((name) => [name, texts[name]?.trim() || null])), cursor: null });
  };
  const isFiltered = FILTERS.some((name) => given[name]);
  const off = texts["from"] && texts["to"] && texts["from"] > texts["to"] ? t("overview.dates_order") : null;
  return html`<form class="filters" role="search" onSubmit=${send}>
    <${Field} label=${t("log.outcome")} value=${texts["outcome"] ?? ""} onInput=${set("outcome")} options=${[["", t("actions.all")], ...OUTCOMES.map((one) => [one, t(`log.outcomes.${one}`)])]} />
    <${Field} label=${t("log.action")} value=${texts["action"] ?? ""} onInput=${set("action")} placeholder="user.change" maxlength="300" autocomplete="off" list="actions" />
    <datalist id="actions">${ACTIONS.map((one) => html`<option key=${one} value=${one} />`)}</datalist>
    <${Field} label=${t("log.actor")} value=${texts["actor"] ?? ""} onInput=${set("actor")} placeholder="usr_…" maxlength="100" autocomplete="off" />
    <${Field} label=${t("log.target")} value=${texts["target"] ?? ""} onInput=${set("target")} placeholder="usr_…, call_…" maxlength="300" autocomplete="off" />
    <${Field} label=${t("log.account")} type="email" value=${texts["account"] ?? ""} onInput=${set("account")} maxlength="320" autocomplete="off" />
    <${Field} label=${t("fields.from")} type="date" value=${texts["from"] ?? ""} onInput=${set("from")} />
    <${Field} label=${t("fields.to")} type="date" value=${texts["to"] ?? ""} onInput=${set("to")} />
    <${Button} type="submit" off=${off}>${t("actions.show")}<//>
    ${isFiltered ? html`<${Button} kind="quiet" onClick=${clear}>${t("log.clear")}<//>` : null}
    <a class="btn" href=${address("/api/admin/audit-log/download", given)} download><${Icon} name="down" />${t("actions.csv")}</a>
  </form>`;
}

const clear = () => setQuery({ ...Object.fromEntries(FILTERS.map((name) => [name, null])), cursor: null });

/** What was asked of the service, for whoever looks closer. @param {{row: any}} props */
function Request({ row }) {
  return html`<details class="small"><summary>${t("log.request")}</summary><${Facts} rows=${[
    [t("log.path"), html`<span class="mono">${row.method ? `${row.method} ${row.path}${row.query ? `?${row.query}` : ""}` : "—"}</span>`],
    [t("log.status"), row.status ?? "—"],
    [t("log.address"), html`<span class="mono">${row.address || "—"}</span>`],
    [t("log.request_id"), html`<span class="mono">${row.request_id}</span>`],
    [t("log.key"), row.key_id ? html`<span class="mono">${row.key_id}</span>` : "—"],
    [t("log.row"), html`<span class="mono">${row.id}</span>`],
  ]} /></details>`;
}

/** What was done, in words; a route that has none is shown as it is. @param {{name: string}} props */
const Action = ({ name }) => (name.includes("/") ? html`<span class="mono small">${name}</span>` : html`${named("log.actions", name.replaceAll(".", "_"))}`);

/** Where a target has a page of its own. @type {Record<string, (id: string) => string>} */
const PAGES = { user: (id) => `/admin/users/${id}`, call: (id) => `/calls/${id}`, campaign: (id) => `/campaigns/${id}`, order: (id) => `/payments/${id}`, complaint: (id) => `/admin/complaints?complaint=${id}` };

/** @param {{of: any}} props */
function Target({ of }) {
  if (!of || of.kind === "route") return html`<span class="muted">—</span>`;
  const page = PAGES[of.kind]?.(encodeURIComponent(of.id));
  return html`${named("log.kinds", of.kind)}<span class="sub mono">${page && !of.id.startsWith("acc_") ? html`<a href=${page} title=${of.id}>${shortId(of.id)}</a>` : html`<span title=${of.id}>${shortId(of.id)}</span>`}</span>`;
}

/** What a row says of before or after; rules as they are compared on their own page. */
const facts = (/** @type {any} */ row, /** @type {any} */ of) => (row.action === "calling_rules.change" && of?.hours && of?.holidays ? { version: of.version, ...comparable(of) } : of);

/** @param {{row: any}} props */
function What({ row }) {
  return html`<div class="stack tight"><div class="row tight"><strong><${Action} name=${row.action} /></strong>
      <${Tag} kind=${KINDS[row.outcome] ?? ""}>${named("log.outcomes", row.outcome)}<//>${row.count > 1 ? html`<span class="xs muted">${t("log.times", { count: count(row.count) })}</span>` : null}</div>
    ${row.code ? html`<span class="small">${t("log.because")} <span class="mono">${row.code}</span></span>` : null}
    ${row.before || row.after ? html`<${Difference} before=${facts(row, row.before)} after=${facts(row, row.after)} most=${12} />` : null}<${Request} row=${row} /></div>`;
}

/** The rows without those that ask for what another row tells the outcome of. */
function told(/** @type {any[]} */ entries) {
  if (query.value.get("outcome")) return entries;
  const answered = new Set(entries.map((one) => one.asked_id));
  return entries.filter((one) => !answered.has(one.id));
}

function List() {
  const of = useData("/api/admin/audit-log", { ...filter(), limit: 50, cursor: query.value.get("cursor") });
  const columns = [
    { title: t("log.when"), show: (/** @type {any} */ row) => html`<time datetime=${row.at} class="num nowrap">${time(row.at, { seconds: true })}</time>` },
    { title: t("log.who"), show: (/** @type {any} */ row) => html`${row.actor ? html`<bdi>${row.actor_email ?? ""}</bdi><span class="sub"><${UserLink} id=${row.actor} /></span>` : named("log.roles", row.role)}<span class="sub">${row.actor ? named("roles", row.role) : null}</span>` },
    { title: t("log.what"), show: (/** @type {any} */ row) => html`<${What} row=${row} />` },
    { title: t("log.to_whom"), isMinor: true, show: (/** @type {any} */ row) => html`<${Target} of=${row.target} />` },
  ];
  const isFiltered = FILTERS.some((name) => query.value.get(name));
  const rows = told(of.data?.entries ?? []);
  return html`<p class="small muted">${t("log.one_row")}</p><section class="card log"><${Shown} of=${of} lines=${10}>${(/** @type {any} */ found) => html`${found.entries.length
    ? html`<${Table} caption=${t("nav.log")} columns=${columns} rows=${rows} id=${(/** @type {any} */ row) => row.id} />`
    : html`<${Empty} title=${t(isFiltered ? "log.none_found" : "log.none")}>${isFiltered ? html`<${Button} onClick=${clear}>${t("log.clear")}<//>` : null}<//>`}
    <${Pages} next=${found.next_cursor} />`}<//></section>`;
}
