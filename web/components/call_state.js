// @ts-check
/** How a call stands, in words: its state, its cost, why it came to nothing. */

import { count, money, paise } from "../core/format.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { Tag } from "./states.js";

const ENDS = new Set(["completed", "busy", "no_answer", "failed", "canceled"]);
/** @type {Record<string, string>} */
const KINDS = { in_progress: "live", ringing: "live", initiated: "live", queued: "live", submitting: "live", created: "live", unknown: "warn", completed: "ok", busy: "warn", no_answer: "warn", failed: "bad", canceled: "" };

/** Whether a call is over. A state that this page does not know is taken for one that goes on. */
export const isOver = (/** @type {any} */ call) => ENDS.has(call.status);
/** Whether somebody can still be called, or talks. */
export const isTalking = (/** @type {any} */ call) => call.status === "in_progress";
/** Whether its price is final. */
export const isSettled = (/** @type {any} */ call) => call.billing_status === "settled" || call.billing_status === "released";

/** @param {{call: any}} props */
export function CallTag({ call }) {
  return html`<${Tag} kind=${KINDS[call.status] ?? ""}>${named("calls.statuses", call.status)}<//>`;
}

/** What it cost; what is reserved while that is not known. @param {{call: any}} props */
export function CallCost({ call }) {
  if (call.cost !== null && call.cost !== undefined) {
    return html`<span class="money">${money(paise(call.cost))}</span>${call.due > 0 ? html`<span class="sub">${t("calls.of_it_due", { due: money(paise(call.due)) })}</span>` : null}`;
  }
  return html`<span class="money muted">${money(paise(call.held))}<span class="sub">${t("calls.is_reserved")}</span></span>`;
}

/** Why a call failed, in words; null when there is nothing to say. The network's own words are kept. */
export function reasonOf(/** @type {any} */ call) {
  const reason = call.failure_reason;
  if (!reason || (reason === call.status && reason !== "failed")) return null;
  const [code, ...rest] = String(reason).split(": ");
  const known = named("calls.reasons", code);
  const detail = rest.join(": ");
  return detail ? `${known} ${t("calls.network_says", { detail })}` : known;
}

/** What a state means for the person and the money; null when its tag says it all. */
export const meaningOf = (/** @type {any} */ call) => {
  const key = call.billing_status === "review" || call.billing_status === "pending_duration" ? `calls.meanings.${call.billing_status}` : `calls.meanings.${call.status}`;
  const text = t(key);
  return text === key ? null : text;
};

/** 200 calls, or '200+' when there are more than were asked for. */
export const atLeast = (/** @type {{calls: any[], next_cursor: string | null} | undefined} */ page) =>
  page === undefined ? "—" : `${count(page.calls.length)}${page.next_cursor ? "+" : ""}`;
