// @ts-check
/** One item that waits: what is known about it, and what an admin can decide. */

import { html } from "../core/html.js";
import { time } from "../core/format.js";
import { isAdmin } from "../core/session.js";
import { t } from "../core/texts.js";
import { CallDecision } from "./review_call.js";
import { DisputeDecision, PaymentDecision, RefundDecision } from "./review_money.js";
import { AdjustmentDecision, ComplaintDecision, DifferenceDecision, FindingDecision, WebhookDecision } from "./review_others.js";
import { age, titleOf } from "./review_list.js";

/** @type {Record<string, any>} */
const BY_KIND = {
  payment: PaymentDecision,
  call: CallDecision,
  refund: RefundDecision,
  dispute: DisputeDecision,
  webhook: WebhookDecision,
  audit: FindingDecision,
  reconciliation: DifferenceDecision,
  adjustment: AdjustmentDecision,
  complaint: ComplaintDecision,
};

/** @param {{item: any, onDone: () => void}} props */
export function ReviewItem({ item, onDone }) {
  const kind = BY_KIND[item.kind];
  return html`<section class="card" aria-label=${titleOf(item)}>
    <header><h2>${titleOf(item)}</h2><span class="small muted nowrap" title=${time(item.since)}>${t("review.since", { age: age(item.since) })}</span></header>
    <div class="body stack">
      ${kind ? html`<${kind} item=${item} onDone=${onDone} />` : html`<pre class="data">${JSON.stringify(item, null, 2)}</pre>`}
      ${isAdmin.value ? null : html`<p class="small muted">${t("review.operator")}</p>`}
    </div>
  </section>`;
}
