// @ts-check
/** Adjustments that wait for a second admin: what each would do, and the decision, for another admin than asked. */

import { useData } from "../core/data.js";
import { request } from "../core/api.js";
import { shortId, shownRupees, time } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { query } from "../core/router.js";
import { isAdmin, me } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { Ask } from "./dialog.js";
import { Button } from "./field.js";
import { Empty, Shown } from "./states.js";
import { Pages, Table } from "./table.js";
import { say } from "./toast.js";

/** A user's id as a link to their page. @param {{id: string | null | undefined}} props */
export function UserLink({ id }) {
  if (!id) return html`—`;
  if (!id.startsWith("usr_")) return html`<bdi>${id}</bdi>`;
  return html`<a class="mono nowrap" href=${`/admin/users/${encodeURIComponent(id)}`} title=${id}>${id === me.value?.id ? t("users.you") : shortId(id)}</a>`;
}

/** Why this admin may not decide about it; null when they may. */
function offFor(/** @type {any} */ row) {
  if (row.by === me.value?.id) return t("users.waiting.own");
  return row.user_id === me.value?.id ? t("users.waiting.own_wallet") : null;
}

/**
 * @param {{userId?: string, onDone?: () => void, hidesEmpty?: boolean}} props `userId`: of this user alone
 */
export function Waiting({ userId, onDone, hidesEmpty = false }) {
  const cursor = userId ? undefined : query.value.get("waiting_cursor");
  const of = useData("/api/admin/adjustments", { limit: 50, cursor });
  const [asked, setAsked] = useState(/** @type {null | {row: any, confirms: boolean}} */ (null));
  const columns = [
    { title: t("users.waiting.what"), show: (/** @type {any} */ row) => html`<strong>${t(`users.deeds.${row.type}_amount`, { amount: shownRupees(row.amount) })}</strong><span class="sub"><bdi>${row.reason}</bdi></span>` },
    ...(userId ? [] : [{ title: t("users.user"), show: (/** @type {any} */ row) => html`<${UserLink} id=${row.user_id} />` }]),
    { title: t("users.waiting.asked"), isMinor: true, show: (/** @type {any} */ row) => html`<${UserLink} id=${row.by} /><span class="sub">${time(row.at)}</span>` },
    ...(isAdmin.value ? [{ title: t("users.waiting.decision"), show: (/** @type {any} */ row) => html`<span class="row tight"><${Button} off=${offFor(row)} onClick=${() => setAsked({ row, confirms: true })}>${t("users.waiting.confirm")}<//>
      ${offFor(row) ? null : html`<${Button} kind="danger" onClick=${() => setAsked({ row, confirms: false })}>${t("users.waiting.reject")}<//>`}</span>` }] : []),
  ];
  const done = () => {
    say(t(asked?.confirms ? "users.waiting.confirmed" : "users.waiting.rejected"));
    setAsked(null);
    of.reload();
    onDone?.();
  };
  const row = asked?.row;
  const shown = (/** @type {any} */ found) => (userId ? found.adjustments.filter((/** @type {any} */ one) => one.user_id === userId) : found.adjustments);
  if (hidesEmpty && (!of.data || shown(of.data).length === 0) && !of.problem) return null;
  return html`<section class="card"><header><h2>${t("users.waiting.title")}</h2></header>
    <${Shown} of=${of}>${(/** @type {any} */ found) => html`${shown(found).length
      ? html`<${Table} caption=${t("users.waiting.title")} columns=${columns} rows=${shown(found)} id=${(/** @type {any} */ one) => one.adjustment_id} />`
      : html`<${Empty} icon="check" title=${t("users.waiting.none")}><span class="small">${t("users.waiting.none_hint")}</span><//>`}
      ${userId ? null : html`<${Pages} next=${found.next_cursor} name="waiting_cursor" />`}`}<//>
    ${asked ? html`<${Ask} title=${t(asked.confirms ? "users.waiting.confirm_title" : "users.waiting.reject_title")} kind=${asked.confirms ? "primary" : "danger"}
      action=${t(asked.confirms ? `users.deeds.${row.type}_amount` : "users.waiting.reject_amount", { amount: shownRupees(row.amount), type: named("users.types", row.type) })}
      work=${() => request("POST", `/api/admin/adjustments/${encodeURIComponent(row.adjustment_id)}/${asked.confirms ? "confirm" : "reject"}`)} onDone=${done} onClose=${() => setAsked(null)}>
      <p>${t(asked.confirms ? "users.waiting.confirm_what" : "users.waiting.reject_what", { deed: t(`users.deeds.${row.type}_amount`, { amount: shownRupees(row.amount) }) })}</p>
      <blockquote class="small"><bdi>${row.reason}</bdi></blockquote><//>` : null}
  </section>`;
}
