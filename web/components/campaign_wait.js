// @ts-check
/** Why a campaign calls nobody right now, and the button that ends that. */

import { html } from "../core/html.js";
import { isStaff } from "../core/session.js";
import { t } from "../core/texts.js";
import { waitText } from "./campaign_status.js";
import { Icon } from "./icon.js";
import { recharge } from "./recharge.js";

// What is over in seconds is told as text, not as something to do.
const PASSING = new Set(["max_concurrent", "calls_per_minute", "calls", "concurrent_calls", "money_held"]);

/** The one thing that ends a wait; null where time does. @returns {[string, () => void] | null} */
function ending(/** @type {any} */ campaign, /** @type {(deed: string) => void} */ act, /** @type {() => void} */ reload) {
  const { status, pause_reason, waiting_for } = campaign;
  if (status !== "paused") return waiting_for?.reason === "window" ? [t("campaigns.end.window"), () => act("pause")] : null;
  if (pause_reason === "user") return [t("campaigns.deeds.resume"), () => act("resume")];
  if (pause_reason === "balance") return isStaff.value ? null : [t("campaigns.end.balance"), () => void recharge({ shortfall_paise: shortfall(campaign) }).then((isPaid) => isPaid && reload())];
  if (pause_reason === "budget") return [t("campaigns.deeds.budget"), () => act("budget")];
  if (pause_reason === "window" || pause_reason === "provider") return [t("campaigns.end.options"), () => act("edit")];
  return null;
}

function shortfall(/** @type {any} */ campaign) {
  const rupees = campaign.estimate?.recharge;
  return typeof rupees === "number" && rupees > 0 ? Math.round(rupees * 100) : null;
}

/** @param {{campaign: any, act: (deed: string) => void, reload: () => void, mayAct: boolean}} props */
export function Wait({ campaign, act, reload, mayAct }) {
  const text = waitText(campaign);
  if (!text) return null;
  const { waiting_for, status } = campaign;
  if (status === "running" && PASSING.has(waiting_for.reason)) return html`<p class="small muted" role="status">${text}</p>`;
  const way = mayAct ? ending(campaign, act, reload) : null;
  const isBad = waiting_for.reason === "balance" || waiting_for.reason === "frozen";
  return html`<div class=${`notice ${isBad ? "bad" : ""}`} role="status"><${Icon} name="pause" /><div><strong>${text}</strong>${status === "running" && waiting_for.reason === "window" ? html`<span class="sub small">${t("campaigns.end.window_story")}</span>` : null}</div>
    ${way ? html`<button type="button" class=${status === "paused" ? "btn primary" : "btn"} onClick=${way[1]}>${way[0]}</button>` : null}
    ${waiting_for.reason === "frozen" && isStaff.value ? html`<a class="btn" href=${`/admin/users/${encodeURIComponent(campaign.user_id)}`}>${t("campaigns.end.user")}</a>` : null}</div>`;
}

