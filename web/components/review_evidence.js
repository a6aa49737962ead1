// @ts-check
/** Pieces of evidence that several kinds of items show. */

import { html } from "../core/html.js";
import { shortId, time } from "../core/format.js";
import { t } from "../core/texts.js";
import { mode } from "./banner.js";

/** Amounts beside each other. @param {{rows: [string, any][]}} props a key of the texts and a value */
export function Parts({ rows }) {
  return html`<dl class="parts">${rows.map(([name, value]) => html`<div key=${name}><dt>${t(name)}</dt><dd class="money">${value}</dd></div>`)}</dl>`;
}

/** Whose it is. @param {{item: any}} props */
export function UserLink({ item }) {
  if (!item.user_id) return "—";
  return html`<a href=${`/admin/users/${encodeURIComponent(item.user_id)}`}><bdi>${item.user_name ?? shortId(item.user_id)}</bdi></a>`;
}

/** An id, whole for copying, with the page that it leads to. @param {{id: string | null | undefined, href?: string}} props */
export function Ids({ id, href }) {
  if (!id) return "—";
  return html`<span class="mono xs">${href ? html`<a href=${href}>${id}</a>` : id}</span>`;
}

/** What was decided before. @param {{made: any[]}} props */
export function Decisions({ made }) {
  if (!made?.length) return null;
  return html`<h3>${t("review.decided_before")}</h3><ul class="plain small">${made.map((one) => html`<li key=${one.at}>${time(one.at)}: ${one.action.replaceAll("_", " ")}, <bdi>${one.reason}</bdi></li>`)}</ul>`;
}

/** Razorpay's own page about it; the sandbox has none. @param {{kind: string, id: string, isPrimary?: boolean}} props */
export function AtRazorpay({ kind, id, isPrimary = false }) {
  if (mode === "sandbox") return html`<p class="xs muted">${t("review.no_dashboard")}</p>`;
  return html`<p><a class=${`btn ${isPrimary ? "primary" : "quiet"}`} href=${`https://dashboard.razorpay.com/app/${kind}/${encodeURIComponent(id)}`} target="_blank" rel="noopener noreferrer">${t("review.open_razorpay")}</a></p>`;
}
