// @ts-check
/** The filter of transactions: what stands in the URL, and the fields that change it. */

import { Chips, Field } from "../components/field.js";
import { Icon } from "../components/icon.js";
import { UserName, UserPicker } from "../components/user_picker.js";
import { dateInIndia, shortId } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { setQuery } from "../core/router.js";
import { isStaff } from "../core/session.js";
import { named, t } from "../core/texts.js";

const NAMES = ["type", "category", "from", "to", "campaign_id", "call_id", "user_id"];
const CATEGORIES = ["recharge", "call_charge", "refund", "refund_reversal", "adjustment", "due_recovery"];
const IS_DAY = /^\d{4}-\d{2}-\d{2}$/;

/** The filter as the API takes it. @returns {Record<string, string | null>} */
export const filterOf = (/** @type {URLSearchParams} */ given) => Object.fromEntries(NAMES.map((name) => [name, given.get(name)]));

/** Change the filter: the pages begin anew. */
const change = (/** @type {Record<string, string | null>} */ changes) => setQuery({ ...changes, cursor: null });
export const clearFilters = () => change(Object.fromEntries(NAMES.map((name) => [name, null])));

/** The periods that are asked for most: name, first day, last day. @returns {[string, string, string][]} */
function periods() {
  const today = dateInIndia();
  const month = today.slice(0, 8);
  const lastOfBefore = new Date(`${month}01T00:00:00Z`);
  lastOfBefore.setUTCDate(0);
  const before = lastOfBefore.toISOString().slice(0, 10);
  return [["today", today, today], ["week", dateInIndia(6), today], ["month", `${month}01`, today], ["last_month", `${before.slice(0, 8)}01`, before]];
}

/** What of the filter has no field of its own, each to be taken away. @param {{chosen: Record<string, string | null>}} props */
function Chosen({ chosen }) {
  /** @type {[string, any][]} */
  const shown = [];
  for (const name of ["campaign_id", "call_id", "user_id"]) {
    const id = chosen[name];
    if (id) shown.push([name, name === "user_id" && isStaff.value ? html`<${UserName} id=${id} />` : html`<bdi class="mono" title=${id}>${shortId(id)}</bdi>`]);
  }
  for (const name of ["from", "to"]) {
    if (chosen[name] && !IS_DAY.test(chosen[name] ?? "")) shown.push([name, html`<bdi class="mono">${chosen[name]}</bdi>`]);
  }
  if (!Object.values(chosen).some(Boolean)) return null;
  return html`<div class="row tight">${shown.map(([name, what]) => html`<button key=${name} class="chip chosen" type="button" aria-label=${t("transactions.without", { what: t(`transactions.by.${name}`) })} onClick=${() => change({ [name]: null })}>${t(`transactions.by.${name}`)}: ${what}<${Icon} name="close" /></button>`)}
    <button class="btn quiet" type="button" onClick=${clearFilters}>${t("transactions.clear")}</button></div>`;
}

/** Fields that hold back until somebody is done typing. @param {{name: string, label: string, hint?: string, chosen: Record<string, string | null>, error?: string | undefined}} props */
function Typed({ name, label, hint, chosen, error, ...more }) {
  const [text, setText] = useState(chosen[name] ?? "");
  return html`<${Field} label=${label} hint=${hint} value=${text} onInput=${setText} error=${error} autocomplete="off" ...${more}
    onChange=${() => change({ [name]: text.trim() || null })} />`;
}

/** Rarer ways to choose. @param {{chosen: Record<string, string | null>, wrong: Record<string, string>}} props */
function More({ chosen, wrong }) {
  return html`<div class="filters">
    <${Typed} key=${`campaign ${chosen["campaign_id"]}`} name="campaign_id" label=${t("transactions.by.campaign_id")} chosen=${chosen} error=${wrong["campaign_id"]} placeholder="cmp_…" />
    <${Typed} key=${`call ${chosen["call_id"]}`} name="call_id" label=${t("transactions.by.call_id")} chosen=${chosen} error=${wrong["call_id"]} placeholder="call_…" />
    ${isStaff.value && !chosen["user_id"] ? html`<${UserPicker} onChoose=${(/** @type {string} */ user_id) => change({ user_id })} />` : null}
  </div>`;
}

/** @param {{chosen: Record<string, string | null>, problem: import("../core/api.js").Problem | null}} props */
export function Filters({ chosen, problem }) {
  const hasMore = ["campaign_id", "call_id", "user_id"].some((name) => chosen[name]);
  const [isOpen, setIsOpen] = useState(hasMore || isStaff.value);
  const wrong = problem?.fields ?? {};
  const here = periods().find(([, from, to]) => from === chosen["from"] && to === chosen["to"])?.[0] ?? (chosen["from"] || chosen["to"] ? "" : "always");
  const choosePeriod = (/** @type {string} */ name) => {
    const found = periods().find(([one]) => one === name);
    change({ from: found?.[1] ?? null, to: found?.[2] ?? null });
  };
  const date = (/** @type {string} */ name) => (IS_DAY.test(chosen[name] ?? "") ? (chosen[name] ?? "") : "");
  /** @type {[string, string][]} */
  const categories = [["", t("transactions.all_categories")], ...CATEGORIES.map((one) => /** @type {[string, string]} */ ([one, named("transactions.category", one)]))];
  if (chosen["category"] && !CATEGORIES.includes(chosen["category"])) categories.push([chosen["category"], named("transactions.category", chosen["category"])]);
  return html`<div class="body stack filter-box" role="search" aria-label=${t("transactions.filter")}>
    <div class="row spread"><${Chips} label=${t("transactions.direction")} value=${chosen["type"] ?? ""} options=${[["", t("actions.all")], ["credit", t("transactions.credits")], ["debit", t("transactions.debits")]]} onChoose=${(/** @type {string} */ type) => change({ type: type || null })} />
      <${Chips} label=${t("transactions.when")} value=${here} options=${[["always", t("transactions.always")], ...periods().map(([name]) => [name, t(`transactions.periods.${name}`)])]} onChoose=${choosePeriod} /></div>
    <div class="filters">
      <${Field} label=${t("transactions.by.category")} value=${chosen["category"] ?? ""} onInput=${(/** @type {string} */ category) => change({ category: category || null })} options=${categories} error=${wrong["category"]} />
      <${Field} label=${t("fields.from")} type="date" value=${date("from")} onInput=${() => undefined} onChange=${(/** @type {any} */ event) => change({ from: event.currentTarget.value || null })} error=${wrong["from"]} />
      <${Field} label=${t("fields.to")} type="date" value=${date("to")} onInput=${() => undefined} onChange=${(/** @type {any} */ event) => change({ to: event.currentTarget.value || null })} error=${wrong["to"]} />
      <button class="btn quiet" type="button" aria-expanded=${String(isOpen)} onClick=${() => setIsOpen(!isOpen)}>${t(isOpen ? "transactions.less" : "transactions.more")}</button>
    </div>
    ${isOpen ? html`<${More} chosen=${chosen} wrong=${wrong} />` : null}
    <${Chosen} chosen=${chosen} />
  </div>`;
}
