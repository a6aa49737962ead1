// @ts-check
/** Numbers that are never called: one's own list, and for operators and admins that of the platform. */

import { AddNumbers, AskAbout, EraseNumber } from "../components/campaign_do_not_call.js";
import { Button, Chips } from "../components/field.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/shell.js";
import { Empty, Shown, Tag } from "../components/states.js";
import { Pages, Table } from "../components/table.js";
import { say } from "../components/toast.js";
import { address } from "../core/api.js";
import { useData } from "../core/data.js";
import { phone, shortId, time } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { query, setQuery } from "../core/router.js";
import { isAdmin, isStaff, role } from "../core/session.js";
import { named, t } from "../core/texts.js";

const LIMIT = 50;
const TYPED_MS = 400;

/** What somebody typed as the beginning of a number: with the country code. */
function digits(/** @type {string} */ text) {
  const typed = text.replace(/[^\d+]/g, "");
  if (!typed) return "";
  if (typed.startsWith("+")) return typed;
  return /^0?[6-9]/.test(typed) && typed.length <= 11 ? `+91${typed.replace(/^0/, "")}` : `+${typed}`;
}

function Search() {
  const now = query.value.get("search") ?? "";
  const [text, setText] = useState(now);
  useEffect(() => {
    if (digits(text) === now) return undefined;
    const timer = setTimeout(() => setQuery({ search: digits(text), cursor: null }, { replace: true }), TYPED_MS);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => {
    if (!now) setText("");
  }, [now]);
  return html`<input class="input contact-search" type="search" inputmode="tel" autocomplete="off" maxlength="20" aria-label=${t("do_not_call.search")} placeholder=${t("do_not_call.search")} value=${text} onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)} />`;
}

/** @param {{one: any, ask: (deed: "remove" | "erase", one: any) => void}} props */
function Deeds({ one, ask }) {
  if (!one.number) return null;
  return html`<span class="row tight end"><button type="button" class="btn quiet" aria-label=${t("do_not_call.remove_of", { number: phone(one.number) })} onClick=${() => ask("remove", one)}>${t("do_not_call.remove_short")}</button>
    <button type="button" class="btn quiet hide-s" aria-label=${t("do_not_call.erase_of", { number: phone(one.number) })} onClick=${() => ask("erase", one)}>${t("do_not_call.erase_short")}</button></span>`;
}

/** @param {{list: string, mayWrite: boolean, ask: (deed: "remove" | "erase", one: any) => void, add: () => void, user_id: string | null, found: any}} props */
function Numbers({ list, mayWrite, ask, add, user_id, found }) {
  const search = query.value.get("search");
  const columns = [
    { title: t("campaigns.contacts.number"), show: (/** @type {any} */ one) => (one.number ? html`<a class="num" href=${`/numbers/${encodeURIComponent(one.number)}`}>${phone(one.number)}</a>` : html`<${Tag}>${t("do_not_call.erased")}<//><span class="sub">${time(one.erased_at)}</span>`) },
    { title: t("do_not_call.source"), show: (/** @type {any} */ one) => html`${named("do_not_call.sources", one.source)}${one.note ? html`<span class="sub"><bdi>${one.note}</bdi></span>` : null}` },
    { title: t("do_not_call.since"), isMinor: true, isNumber: true, show: (/** @type {any} */ one) => time(one.added_at) },
    { title: t("do_not_call.by"), isMinor: true, show: (/** @type {any} */ one) => html`<bdi>${one.added_by}</bdi>` },
    ...(mayWrite ? [{ title: t("campaigns.more"), isNumber: true, show: (/** @type {any} */ one) => html`<${Deeds} one=${one} ask=${ask} />` }] : []),
  ];
  const path = `/api/do-not-call/download`;
  return html`<section class="card"><header class="wrap"><${Search} /><a class="btn" href=${address(path, { list, user_id })} download><${Icon} name="down" />${t("do_not_call.export")}</a></header>
    <${Shown} of=${found} lines=${8}>${(/** @type {any} */ data) => data.numbers.length
      ? html`<${Table} caption=${t("nav.do_not_call")} columns=${columns} rows=${data.numbers} id=${(/** @type {any} */ one) => `${one.number}${one.added_at}`} /><${Pages} next=${data.next_cursor} />`
      : search
        ? html`<${Empty} icon="search" title=${t("do_not_call.not_found", { number: search })}><p class="muted">${t("do_not_call.not_found_story")}</p><button type="button" class="btn" onClick=${() => setQuery({ search: null, cursor: null })}>${t("campaigns.contacts.show_all")}</button><//>`
        : html`<${Empty} icon="block" title=${t("do_not_call.none")}><p class="muted">${t(list === "platform" ? "do_not_call.none_platform_story" : "do_not_call.none_story")}</p>${mayWrite ? html`<button type="button" class="btn" onClick=${add}>${t("do_not_call.add")}</button>` : null}<//>`}<//></section>`;
}

export default function DoNotCallPage() {
  const list = isStaff.value && query.value.get("list") === "platform" ? "platform" : "own";
  const user_id = isStaff.value && list === "own" ? query.value.get("user_id") : null;
  const mayWrite = user_id === null && (list === "platform" ? isAdmin.value : role.value !== "operator");
  const [asked, setAsked] = useState(/** @type {{deed: "remove" | "erase", one: any} | null} */ (null));
  const [open, setOpen] = useState(/** @type {"add" | "erase" | null} */ (null));
  const found = useData("/api/do-not-call", { list, user_id, search: query.value.get("search"), limit: LIMIT, cursor: query.value.get("cursor") });
  const add = () => setOpen("add");
  const page = html`<p class="muted">${t(list === "platform" ? "do_not_call.platform_story" : "do_not_call.story")}</p>
    ${isStaff.value ? html`<div class="row"><${Chips} label=${t("do_not_call.which")} value=${user_id ? "" : list} options=${[["own", t("do_not_call.own")], ["platform", t("do_not_call.platform")]]} onChoose=${(/** @type {string} */ one) => setQuery({ list: one === "own" ? null : one, user_id: null, search: null, cursor: null })} />
      ${user_id ? html`<span class="small">${t("do_not_call.of_user")} <a class="mono" href=${`/admin/users/${encodeURIComponent(user_id)}`}>${shortId(user_id)}</a></span>` : null}</div>` : null}
    <${Numbers} list=${list} mayWrite=${mayWrite} user_id=${user_id} found=${found} add=${add} ask=${(/** @type {any} */ deed, /** @type {any} */ one) => setAsked({ deed, one })} />
    ${mayWrite ? html`<p class="small muted">${t("do_not_call.forget_story")} <button type="button" class="link" onClick=${() => setOpen("erase")}>${t("do_not_call.erase")}</button></p>` : null}
    ${open === "add" ? html`<${AddNumbers} list=${list} onClose=${() => setOpen(null)} onDone=${found.reload} />` : null}
    ${open === "erase" ? html`<${EraseNumber} list=${list} onClose=${() => setOpen(null)} onDone=${() => { setOpen(null); say(t("do_not_call.erase_done")); found.reload(); }} />` : null}
    ${asked ? html`<${AskAbout} listing=${asked.one} deed=${asked.deed} onClose=${() => setAsked(null)} onDone=${() => { say(t(`do_not_call.${asked.deed}_done`, { number: phone(asked.one.number) })); setAsked(null); found.reload(); }} />` : null}`;
  return html`<${Page} title=${t("nav.do_not_call")} page=${page}>${mayWrite ? html`<${Button} kind="primary" onClick=${add}><${Icon} name="plus" />${t("do_not_call.add_short")}<//>` : null}<//>`;
}
