// @ts-check
/** What was done to a wallet by hand: who, what, why, and the transaction that it made. */

import { useData } from "../core/data.js";
import { shortId, shownRupees, time } from "../core/format.js";
import { html } from "../core/html.js";
import { query } from "../core/router.js";
import { named, t } from "../core/texts.js";
import { UserLink } from "./admin_waiting.js";
import { Empty, Shown, Tag } from "./states.js";
import { Pages, Table } from "./table.js";

/** @type {Record<string, string>} */
const KINDS = { waits_for_second_admin: "warn", posted: "ok", rejected: "bad" };

const columns = () => [
  { title: t("users.by_hand.what"), show: (/** @type {any} */ row) => html`<strong>${named("users.by_hand.actions", row.action)}</strong>${row.amount !== undefined && row.amount !== null ? html` <span class="num">${shownRupees(row.amount)}</span>` : null}
    ${row.status ? html` <${Tag} kind=${KINDS[row.status] ?? ""}>${named("users.by_hand.states", row.status)}<//>` : null}<span class="sub"><bdi>${row.reason}</bdi></span>` },
  { title: t("users.by_hand.who"), show: (/** @type {any} */ row) => html`<${UserLink} id=${row.by} /><span class="sub">${time(row.at)}</span>${row.decided_by ? html`<span class="sub">${t("users.by_hand.decided")} <${UserLink} id=${row.decided_by} /></span>` : null}` },
  { title: t("users.by_hand.transaction"), isMinor: true, show: (/** @type {any} */ row) => (row.transaction_id ? html`<a class="mono" href=${`/transactions/${row.transaction_id}`}>${shortId(row.transaction_id)}</a>` : row.subject_id ? html`<span class="mono">${shortId(row.subject_id)}</span>` : "—") },
];

/** @param {{userId: string}} props */
export function ByHand({ userId }) {
  const of = useData(`/api/admin/users/${encodeURIComponent(userId)}/adjustments`, { limit: 10, cursor: query.value.get("by_hand_cursor") });
  return html`<section class="card"><header><h2>${t("users.by_hand.title")}</h2><a class="small" href=${`/admin/log?target=${encodeURIComponent(userId)}`}>${t("nav.log")}</a></header>
    <${Shown} of=${of}>${(/** @type {any} */ found) => html`${found.adjustments.length
      ? html`<${Table} caption=${t("users.by_hand.title")} columns=${columns()} rows=${found.adjustments} id=${(/** @type {any} */ row) => `${row.at}${row.action}`} />`
      : html`<${Empty} icon="check" title=${t("users.by_hand.none")} />`}<${Pages} next=${found.next_cursor} name="by_hand_cursor" />`}<//></section>`;
}
