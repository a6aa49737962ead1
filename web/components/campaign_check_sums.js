// @ts-check
/** What becomes of the rows of a file, and about what calling them costs, before anything is stored. */

import { post, Problem } from "../core/api.js";
import { count, money, paise } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { balance } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { goTo } from "./campaign_wizard.js";
import { Button } from "./field.js";

const GUESSED_SECONDS = 30;

/** What a call of 30 seconds to a number costs; null while that is not known. */
function useCost(/** @type {string | undefined} */ to) {
  const [cost_paise, setCost] = useState(/** @type {number | null} */ (null));
  useEffect(() => {
    setCost(null);
    if (!to) return;
    post("/api/calls/quote", { to, duration_seconds: GUESSED_SECONDS }).then(
      (quote) => setCost(paise(quote.cost)),
      (problem) => {
        if (!(problem instanceof Problem)) throw problem; // unknown: no estimate is shown
      },
    );
  }, [to]);
  return cost_paise;
}

/** @param {{preview: any}} props */
export function CheckSums({ preview }) {
  const { rows, usable, refused } = preview.counts;
  const first = preview.rows.find((/** @type {any} */ row) => row.to)?.to;
  const cost_paise = useCost(first);
  const total_paise = cost_paise === null || usable === null ? null : cost_paise * usable;
  const available_paise = balance.value?.available_paise ?? null;
  const paid = cost_paise && available_paise !== null && usable !== null ? Math.min(usable, Math.floor(Math.max(0, available_paise) / cost_paise)) : null;
  const off = preview.phone_column === null ? t("campaigns.check.choose_first") : usable ? null : t("campaigns.check.nobody");
  return html`<section class="card"><header><h2>${t("campaigns.check.will_call")}</h2></header><div class="body stack">
    <div class="row spread"><span>${t("campaigns.check.callable")}</span><strong class="num">${count(usable)}</strong></div>
    ${Object.entries(refused).map(([code, number]) => html`<div key=${code} class="row spread"><span>${named("campaigns.refusals", code)}</span><span class="num">${count(/** @type {number} */ (number))}</span></div>`)}
    <div class="row spread muted"><span>${t("campaigns.check.in_file")}</span><span class="num">${count(rows)}</span></div>
    <hr class="line" />
    <div class="row spread"><span>${t("campaigns.check.estimate", { seconds: GUESSED_SECONDS })}</span><strong class="money">${money(total_paise)}</strong></div>
    ${total_paise !== null ? html`<p class="xs muted">${t("campaigns.check.arithmetic", { contacts: count(usable), each: money(cost_paise), total: money(total_paise) })}</p>` : null}
    ${paid !== null && paid < usable ? html`<div class="notice"><div class="small"><strong>${t("campaigns.check.pays_for", { count: count(paid) })}</strong> ${t("campaigns.check.pauses")}</div></div>` : null}
    <p class="xs muted">${t("campaigns.check.later")}</p>
    <div class="row"><${Button} kind="primary" off=${off} onClick=${() => goTo("message")}>${t("campaigns.check.next")}<//></div>
  </div></section>`;
}
