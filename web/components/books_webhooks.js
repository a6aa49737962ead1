// @ts-check
/** Webhooks: what Razorpay reported and what came of it; one with its payload, and handling it again. */

import { post } from "../core/api.js";
import { useData } from "../core/data.js";
import { count, time } from "../core/format.js";
import { html } from "../core/html.js";
import { query, setQuery } from "../core/router.js";
import { isAdmin } from "../core/session.js";
import { t } from "../core/texts.js";
import { Dialog } from "./dialog.js";
import { Chips } from "./field.js";
import { Decide } from "./review_decide.js";
import { readable } from "./review_others.js";
import { Empty, Shown, Tag } from "./states.js";
import { Facts, Pages, Table } from "./table.js";

/** @type {Record<string, string>} */
const COLOURS = { done: "ok", pending: "live", dead: "bad" };

const stateOf = (/** @type {any} */ row) => html`<${Tag} kind=${COLOURS[row.state] ?? ""}>${t(`books.hooks.states.${row.state}`)}<//>`;

export function Webhooks() {
  const state = query.value.get("state") ?? "";
  const chosen = query.value.get("webhook");
  const found = useData("/api/admin/webhooks", { state, limit: 50, cursor: query.value.get("cursor") });
  const open = (/** @type {string} */ id) => setQuery({ webhook: id });
  const columns = [
    { title: t("books.hooks.event"), show: (/** @type {any} */ row) => html`<button class="link mono" type="button" onClick=${() => open(row.webhook_id)}>${row.event}</button><span class="sub">${time(row.received_at, { seconds: true })}</span>` },
    { title: t("books.hooks.state"), show: stateOf },
    { title: t("books.hooks.outcome"), show: (/** @type {any} */ row) => html`<bdi class="small">${row.state === "done" ? row.outcome : row.failure ?? "—"}</bdi>` },
    { title: t("books.hooks.attempts"), isNumber: true, isMinor: true, show: (/** @type {any} */ row) => count(row.attempts) },
  ];
  const options = ["", "pending", "done", "dead"].map((name) => [name, name ? t(`books.hooks.states.${name}`) : t("actions.all")]);
  return html`<section class="card"><header><${Chips} label=${t("books.hooks.state")} value=${state} options=${options} onChoose=${(/** @type {string} */ name) => setQuery({ state: name, cursor: null })} /></header>
    <${Shown} of=${found}>${(/** @type {any} */ list) => list.webhooks.length ? html`<${Table} caption=${t("books.parts.webhooks")} columns=${columns} rows=${list.webhooks} id=${(/** @type {any} */ row) => row.webhook_id} isOn=${(/** @type {any} */ row) => row.webhook_id === chosen} /><${Pages} next=${list.next_cursor} />` : html`<${Empty} title=${t(state ? "books.hooks.none_of_state" : "books.hooks.none")}><span class="small">${t("books.hooks.none_why")}</span><//>`}<//></section>
    ${chosen ? html`<${One} key=${chosen} id=${chosen} onClose=${() => setQuery({ webhook: null })} reload=${found.reload} />` : null}`;
}

/** @param {{id: string, onClose: () => void, reload: () => void}} props */
function One({ id, onClose, reload }) {
  const path = `/api/admin/webhooks/${encodeURIComponent(id)}`;
  const found = useData(path);
  const choices = [{ id: "replay", label: t("review.webhook.replay"), says: t("review.webhook.replay_says"), done: t("review.webhook.replay_done"), work: () => post(`${path}/replay`) }];
  return html`<${Dialog} title=${t("books.hooks.one")} onClose=${onClose} isWide><${Shown} of=${found}>${(/** @type {any} */ hook) => html`<div class="stack">
    <${Facts} rows=${[[t("books.hooks.event"), html`<span class="mono">${hook.event}</span>`], [t("books.hooks.state"), stateOf(hook)], [t("books.hooks.outcome"), html`<bdi>${hook.outcome ?? "—"}</bdi>`], [t("books.hooks.failure"), html`<bdi>${hook.failure ?? "—"}</bdi>`], [t("review.webhook.received"), time(hook.received_at, { seconds: true })], [t("review.webhook.attempts"), count(hook.attempts)], [t("review.webhook.theirs"), html`<span class="mono xs">${hook.razorpay_event_id || "—"}</span>`], [t("review.webhook.ours"), html`<span class="mono xs">${hook.webhook_id}</span>`]]} />
    <h3>${t("review.webhook.body")}</h3><pre class="data" tabindex="0">${readable(hook.body)}</pre>
    ${isAdmin.value ? html`<${Decide} choices=${choices} onDone=${() => { reload(); onClose(); }} needsReason=${false} />` : null}</div>`}<//><//>`;
}
