// @ts-check
/**
 * Recharging from wherever money is missing: the amount, the payment on its own page, and then the user
 * goes on with what they were doing.
 */

import { get, post, Problem } from "../core/api.js";
import { useAction } from "../core/data.js";
import { money, paise, rupees, typedPaise } from "../core/format.js";
import { html, signal, useEffect, useState } from "../core/html.js";
import { balance, loadBalance } from "../core/session.js";
import { t } from "../core/texts.js";
import { Dialog } from "./dialog.js";
import { Button, Chips, Field } from "./field.js";
import { Failed } from "./states.js";
import { say } from "./toast.js";

const AMOUNTS_PAISE = [500_00, 1_000_00, 2_000_00, 5_000_00];
const POLL_MS = 2_000;
const RESUMABLE = new Set(["insufficient_balance"]);

/** @typedef {{shortfall_paise: number | null, decide: (isPaid: boolean) => void}} Wish */
const wish = signal(/** @type {Wish | null} */ (null));

/** Open the dialog; whether the money has arrived when it closes. @param {{shortfall_paise?: number | null}} [about] */
export function recharge({ shortfall_paise = null } = {}) {
  wish.value?.decide(false);
  return /** @type {Promise<boolean>} */ (new Promise((resolve) => {
    wish.value = {
      shortfall_paise,
      decide: (isPaid) => {
        wish.value = null;
        resolve(isPaid);
      },
    };
  }));
}

/**
 * Do something that costs money. Where the service says that money is missing (402), the recharge opens
 * with what is missing, and after the payment it is done again.
 *
 * @template T
 * @param {(attempt: number) => Promise<T>} work `attempt` is 0 at first; a new one is a new intention
 */
export async function withMoney(work) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await work(attempt);
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.status !== 402 || !RESUMABLE.has(problem.code)) throw problem;
      if (!(await recharge({ shortfall_paise: paise(problem.body.shortfall) }))) throw problem;
    }
  }
}

/** Whole rupees that cover what is missing, at least the smallest amount offered. */
function suggested(/** @type {number | null} */ shortfall_paise) {
  if (!shortfall_paise) return AMOUNTS_PAISE[0] ?? 0;
  return Math.max(100_00, Math.ceil(shortfall_paise / 100_00) * 100_00);
}

/** The dialog, where the shell draws it. */
export function RechargeDialog() {
  const wanted = wish.value;
  return wanted ? html`<${Wanted} key=${wanted} wish=${wanted} />` : null;
}

/** @param {{wish: Wish}} props */
function Wanted({ wish: wanted }) {
  const [text, setText] = useState(String(rupees(suggested(wanted.shortfall_paise))));
  const [order, setOrder] = useState(/** @type {any} */ (null));
  const amount_paise = typedPaise(text);
  const open = useAction((key, /** @type {Window | null} */ payPage) =>
    post("/api/payment/create-order", { amount: rupees(amount_paise ?? 0) }, key).then((opened) => {
      const url = `/pay/${encodeURIComponent(opened.order_id)}`;
      if (payPage) payPage.location.href = url;
      return { ...opened, url, isOpen: payPage !== null };
    }),
  );
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const payPage = window.open("about:blank", "wallet-pay"); // before the wait, or it counts as a pop-up
    const opened = await open.run(payPage);
    if (opened) setOrder(opened);
    else payPage?.close();
  };
  if (order) return html`<${Waiting} order=${order} wish=${wanted} again=${() => setOrder(null)} />`;
  const off = amount_paise === null ? t("recharge.type_amount") : null;
  return html`<${Dialog} title=${t("recharge.title")} onClose=${() => wanted.decide(false)}>
    <form class="stack" onSubmit=${send}>
      ${wanted.shortfall_paise ? html`<p class="notice small">${t("recharge.missing", { amount: money(wanted.shortfall_paise), available: money(balance.value?.available_paise) })}</p>` : null}
      <${Chips} label=${t("recharge.amounts")} value=${String(amount_paise)} options=${AMOUNTS_PAISE.map((one) => [String(one), money(one).replace(/\.00$/, "")])}
        onChoose=${(/** @type {string} */ one) => setText(String(rupees(Number(one))))} />
      <${Field} label=${t("recharge.amount")} value=${text} onInput=${setText} inputmode="decimal" autocomplete="off" error=${open.problem?.fields["amount"]} />
      ${open.problem && !open.problem.fields["amount"] ? html`<${Failed} problem=${open.problem} />` : null}
      <div class="row"><${Button} type="submit" kind="primary" isBusy=${open.isBusy} off=${off}>${t("recharge.pay", { amount: money(amount_paise) })}<//></div>
      <p class="xs muted">${t("recharge.where")}</p>
    </form>
  <//>`;
}

/** What the payment page is doing, until the money is there. @param {{order: any, wish: Wish, again: () => void}} props */
function Waiting({ order, wish: wanted, again }) {
  const [seen, setSeen] = useState(/** @type {any} */ (null));
  useEffect(() => {
    let isOver = false;
    let timer = 0;
    const channel = "BroadcastChannel" in window ? new BroadcastChannel("wallet.payments") : null;
    const look = async () => {
      clearTimeout(timer);
      try {
        const found = await get(`/api/payment/orders/${encodeURIComponent(order.order_id)}`);
        if (isOver) return;
        setSeen(found);
        if (found.transaction_id) {
          isOver = true;
          await loadBalance();
          say(t("recharge.arrived", { amount: money(paise(found.amount)) }));
          wanted.decide(true);
          return;
        }
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem; // unknown for now: it is asked again
      }
      if (!isOver) timer = setTimeout(look, POLL_MS);
    };
    if (channel) channel.onmessage = () => void look();
    void look();
    return () => {
      isOver = true;
      clearTimeout(timer);
      channel?.close();
    };
  }, [order.order_id]);
  const failed = (seen?.attempts ?? []).filter((/** @type {any} */ one) => one.outcome === "failed").at(-1);
  return html`<${Dialog} title=${t("recharge.waiting_title", { amount: money(paise(order.amount)) })} onClose=${() => wanted.decide(false)}>
    <div class="stack" aria-live="polite">
      <p>${order.isOpen ? t("recharge.waiting") : t("recharge.blocked")}</p>
      ${seen?.message ? html`<p class="small muted">${seen.message}</p>` : null}
      ${failed ? html`<p class="notice bad small">${failed.error_description || t("recharge.failed")}</p>` : null}
      <div class="row"><a class="btn primary" href=${order.url} target="wallet-pay">${t("recharge.open_page")}</a>
        <button class="btn quiet" type="button" onClick=${again}>${t("recharge.other_amount")}</button></div>
      <p class="xs muted">${t("recharge.by_itself")}</p>
    </div>
  <//>`;
}
