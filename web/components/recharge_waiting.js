// @ts-check
/** Waiting for a payment that is made on its own page: what is known of it, until the money is there. */

import { get, Problem } from "../core/api.js";
import { money, paise } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { loadBalance } from "../core/session.js";
import { t } from "../core/texts.js";
import { Dialog } from "./dialog.js";
import { Failed } from "./states.js";
import { say } from "./toast.js";

const POLL_MS = 2_000;
const POLL_LATER_MS = 6_000;
const OFTEN_MS = 120_000;

/**
 * The order as it is now, asked for until its money is in the wallet: then `onPaid`.
 *
 * @returns {{seen: any, problem: Problem | null, isClosed: boolean}} `isClosed`: the payment page is not there any more
 */
function useOrder(/** @type {any} */ order, /** @type {(found: any) => void} */ onPaid) {
  const [state, setState] = useState(/** @type {{seen: any, problem: Problem | null, isClosed: boolean}} */ ({ seen: null, problem: null, isClosed: false }));
  useEffect(() => {
    let isOver = false;
    let timer = 0;
    const begun = Date.now();
    const channel = "BroadcastChannel" in window ? new BroadcastChannel("wallet.payments") : null;
    const look = async () => {
      clearTimeout(timer);
      const isClosed = Boolean(order.payPage?.closed);
      try {
        const found = await get(`/api/payment/orders/${encodeURIComponent(order.order_id)}`);
        if (isOver) return;
        setState({ seen: found, problem: null, isClosed });
        if (found.transaction_id) {
          isOver = true;
          await loadBalance();
          onPaid(found);
          return;
        }
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        if (!isOver) setState((before) => ({ ...before, problem, isClosed })); // unknown for now: it is asked again
      }
      clearTimeout(timer);
      if (!isOver) timer = setTimeout(look, Date.now() - begun < OFTEN_MS ? POLL_MS : POLL_LATER_MS);
    };
    if (channel) channel.onmessage = () => void look();
    void look();
    return () => {
      isOver = true;
      clearTimeout(timer);
      channel?.close();
    };
  }, [order.order_id]);
  return state;
}

/** What is known now, in one sentence and its colour. @returns {[string, string]} */
function told(/** @type {any} */ order, /** @type {any} */ seen, /** @type {boolean} */ isClosed) {
  const attempts = seen?.payments ?? [];
  if (attempts.some((/** @type {any} */ one) => one.outcome === "review")) return ["warn", seen.message];
  if (seen?.is_pending) return ["", t("recharge.on_its_way")];
  const failed = attempts.filter((/** @type {any} */ one) => one.outcome === "failed").at(-1);
  if (failed) return ["bad", failed.error_description ? t("recharge.failed_because", { why: failed.error_description }) : t("recharge.failed")];
  if (!order.payPage) return ["", t("recharge.blocked")];
  return isClosed ? ["", t("recharge.closed")] : ["plain", t("recharge.waiting")];
}

/** @param {{order: any, wish: {decide: (isPaid: boolean) => void}, again: () => void}} props */
export function Waiting({ order, wish, again }) {
  const { seen, problem, isClosed } = useOrder(order, (found) => {
    say(t("recharge.arrived", { amount: money(paise(found.amount)) }));
    wish.decide(true);
  });
  const [kind, text] = told(order, seen, isClosed);
  const isPending = Boolean(seen?.is_pending) || kind === "warn";
  return html`<${Dialog} title=${t("recharge.waiting_title", { amount: money(paise(order.amount)) })} onClose=${() => wish.decide(false)}>
    <div class="stack">
      <div aria-live="polite">${kind === "plain" ? html`<p class="waiting">${text}</p>` : html`<p class=${`notice small ${kind}`}>${text}</p>`}</div>
      ${problem ? html`<${Failed} problem=${problem} />` : null}
      <div class="row"><a class=${isPending ? "btn" : "btn primary"} href=${order.url} target="wallet-pay">${t("recharge.open_page")}</a>
        ${isPending ? null : html`<button class="btn quiet" type="button" onClick=${again}>${t("recharge.other_amount")}</button>`}</div>
      <p class="xs muted">${t(isPending ? "recharge.by_itself_pending" : "recharge.by_itself")}</p>
    </div>
  <//>`;
}
