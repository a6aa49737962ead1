// @ts-check
/** How orders, payments, refunds and disputes are told in a word. */

import { Tag } from "../components/states.js";
import { mode } from "../components/banner.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";

/** The state of an order in a word: [name, kind of the tag]. @returns {[string, string]} */
export function stateOf(/** @type {any} */ order) {
  const disputes = (order.disputes ?? []).filter((/** @type {any} */ one) => one.state === "reserved");
  if (order.status === "paid") {
    if (disputes.length) return ["disputed", "warn"];
    if (order.refunded > 0) return [order.refunded >= order.amount ? "refunded" : "refunded_partly", ""];
    return ["paid", "ok"];
  }
  const outcomes = new Set(order.payments.map((/** @type {any} */ one) => one.outcome));
  if (outcomes.has("review")) return ["review", "warn"];
  if (order.is_pending) return ["pending", "live"];
  if (outcomes.has("failed")) return ["failed", "bad"];
  return ["unpaid", ""];
}

/** @param {{order: any}} props */
export function OrderTag({ order }) {
  const [name, kind] = stateOf(order);
  return html`<${Tag} kind=${kind}>${t(`payments.state.${name}`)}<//>`;
}

/** Whether somebody may pay an order still: it is one of the mode in which the service runs. */
export const canBePaid = (/** @type {any} */ order) => order.status !== "paid" && (!mode || order.mode === mode);

/** @type {Record<string, string>} */
const KINDS = { processed: "ok", credited: "ok", released: "ok", pending: "live", reserved: "warn", review: "warn", failed: "bad", debited: "bad" };

/** A word for an outcome or a state of `group`. @param {{group: string, value: string}} props */
export const StateTag = ({ group, value }) => html`<${Tag} kind=${KINDS[value] ?? ""}>${named(`payments.${group}`, value)}<//>`;
