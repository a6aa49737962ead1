// @ts-check
/** API keys: for programs; made, rotated, revoked; their text is shown once. */

import { Ask, Dialog } from "../components/dialog.js";
import { Copy } from "../components/copy.js";
import { Button, Field } from "../components/field.js";
import { Empty, Failed, Shown, Tag } from "../components/states.js";
import { Table } from "../components/table.js";
import { say } from "../components/toast.js";
import { post, request } from "../core/api.js";
import { useAction, useData } from "../core/data.js";
import { money, paise, time } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { NewKey } from "./account_new_key.js";

const OVERLAPS_SECONDS = [86_400, 3_600, 604_800, 0];

/** The text of a key, this once. @param {{made: any, onClose: () => void}} props */
function KeyShown({ made, onClose }) {
  return html`<${Dialog} title=${t("account.key_shown")} onClose=${onClose} isWide>
    ${made.key
      ? html`<p class="small">${t("account.key_once")}</p><${Copy} text=${made.key} label=${t("account.key_text")} />
        <pre class="data" tabindex="0" aria-label=${t("account.key_example")}>${`curl ${location.origin}/api/wallet/balance -H "Authorization: Bearer ${made.key}"`}</pre>`
      : html`<p class="notice">${t("account.key_lost")}</p>`}
    ${made.previous_valid_until ? html`<p class="small muted">${t("account.key_before_until", { at: time(made.previous_valid_until) })}</p>` : null}
    <div class="row"><button class="btn primary" type="button" onClick=${onClose}>${t("account.key_kept")}</button></div>
  <//>`;
}

/** @param {{of: any, onDone: (made: any) => void, onClose: () => void}} props */
function Rotate({ of, onDone, onClose }) {
  const [overlap, setOverlap] = useState(String(OVERLAPS_SECONDS[0]));
  const deed = useAction((key) => post(`/api/api-keys/${encodeURIComponent(of.key_id)}/rotate`, { overlap_seconds: Number(overlap) }, key));
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const made = await deed.run();
    if (made) onDone(made);
  };
  return html`<${Dialog} title=${t("account.rotate")} onClose=${onClose}><form class="stack" onSubmit=${send}>
    <p class="small">${t("account.rotate_about")} <bdi><strong>${of.name}</strong></bdi></p>
    <${Field} label=${t("account.overlap")} value=${overlap} onInput=${(/** @type {string} */ one) => { setOverlap(one); deed.clear(); }} hint=${t(overlap === "0" ? "account.overlap_none_hint" : "account.overlap_hint")}
      options=${OVERLAPS_SECONDS.map((one) => [String(one), t(`account.overlap_${one}`)])} />
    ${deed.problem ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${deed.isBusy}>${t("account.rotate_now")}<//></div>
  </form><//>`;
}

const isOver = (/** @type {any} */ key) => key.expires_at && new Date(key.expires_at).getTime() <= Date.now();

function columnsOf(/** @type {(kind: string, key: any) => void} */ open) {
  return [
    { title: t("account.key_name"), show: (/** @type {any} */ row) => html`<bdi>${row.name}</bdi><span class="sub mono">${row.prefix}…</span>` },
    { title: t("account.scopes"), isMinor: true, show: (/** @type {any} */ row) => html`<span class="xs">${row.scopes.join(", ")}</span>` },
    { title: t("account.daily_cap"), isNumber: true, isMinor: true, show: (/** @type {any} */ row) => (row.daily_spend_cap === null ? t("account.no_cap") : money(paise(row.daily_spend_cap))) },
    { title: t("account.last_used"), show: (/** @type {any} */ row) => (row.last_used_at ? time(row.last_used_at) : t("account.never_used")) },
    { title: t("account.expires"), isMinor: true, show: (/** @type {any} */ row) => html`${row.expires_at ? time(row.expires_at) : t("account.never")}${isOver(row) ? html` <${Tag} kind="bad">${t("account.expired")}<//>` : null}
      ${row.previous_valid_until && new Date(row.previous_valid_until).getTime() > Date.now() ? html`<span class="sub">${t("account.key_before_until", { at: time(row.previous_valid_until) })}</span>` : null}` },
    { title: t("account.action"), show: (/** @type {any} */ row) => html`<div class="row tight"><button class="btn" type="button" aria-label=${t("account.rotate_of", { name: row.name })} onClick=${() => open("rotate", row)}>${t("account.rotate")}</button>
      <button class="btn danger" type="button" aria-label=${t("account.revoke_of", { name: row.name })} onClick=${() => open("revoke", row)}>${t("account.revoke")}</button></div>` },
  ];
}

export function ApiKeys() {
  const of = useData("/api/api-keys");
  const [opened, setOpened] = useState(/** @type {{kind: string, key?: any} | null} */ (null));
  const close = () => setOpened(null);
  const made = (/** @type {any} */ key) => {
    setOpened({ kind: "shown", key });
    of.reload();
  };
  const revoked = () => {
    say(t("account.revoked"));
    close();
    of.reload();
  };
  const create = html`<button class="btn" type="button" onClick=${() => setOpened({ kind: "new" })}>${t("account.key_new")}</button>`;
  return html`<section class="card" id="keys"><header><h2>${t("account.keys")}</h2>${of.data?.api_keys.length ? create : null}</header>
    <${Shown} of=${of}>${(/** @type {any} */ page) => page.api_keys.length === 0
      ? html`<${Empty} icon="key" title=${t("account.keys_none")}><span class="small">${t("account.keys_about")}</span>${create}<//>`
      : html`<${Table} caption=${t("account.keys")} columns=${columnsOf((kind, key) => setOpened({ kind, key }))} rows=${page.api_keys} id=${(/** @type {any} */ row) => row.key_id} />`}<//>
    ${opened?.kind === "new" ? html`<${NewKey} onDone=${made} onClose=${close} />` : null}
    ${opened?.kind === "shown" ? html`<${KeyShown} made=${opened.key} onClose=${close} />` : null}
    ${opened?.kind === "rotate" ? html`<${Rotate} of=${opened.key} onDone=${made} onClose=${close} />` : null}
    ${opened?.kind === "revoke" ? html`<${Ask} title=${t("account.revoke")} action=${t("account.revoke_now")} kind="danger" work=${() => request("DELETE", `/api/api-keys/${encodeURIComponent(opened.key.key_id)}`)} onDone=${revoked} onClose=${close}>
      <p class="small">${t("account.revoke_about")} <bdi><strong>${opened.key.name}</strong></bdi></p><//>` : null}
  </section>`;
}
