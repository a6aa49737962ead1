// @ts-check
/**
 * Recharging from wherever money is missing: the amount, the payment on its own page, and then the user
 * goes on with what they were doing.
 */

import { post, Problem } from "../core/api.js";
import { useAction } from "../core/data.js";
import { money, paise, rupees, typedPaise } from "../core/format.js";
import { html, signal, useEffect, useState } from "../core/html.js";
import { query, setQuery } from "../core/router.js";
import { balance, isStaff } from "../core/session.js";
import { t } from "../core/texts.js";
import { Dialog } from "./dialog.js";
import { Button, Chips, Field } from "./field.js";
import { Waiting } from "./recharge_waiting.js";
import { Failed } from "./states.js";
import { useWait, waitReason } from "./wait.js";

const AMOUNTS_PAISE = [500_00, 1_000_00, 2_000_00, 5_000_00];
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

/** The dialog, where the shell draws it; `?recharge` in an address opens it, as the API's 402 names it. */
export function RechargeDialog() {
  const wanted = wish.value;
  const asked = query.value.get("recharge");
  useEffect(() => {
    if (asked === null) return;
    setQuery({ recharge: null }, { replace: true });
    if (!isStaff.value) void recharge({ shortfall_paise: typedPaise(asked) });
  }, [asked]);
  return wanted ? html`<${Wanted} key=${wanted} wish=${wanted} />` : null;
}

/** What a refusal to open an order says, with the amounts that it names; null for what `Failed` says. */
function refusal(/** @type {Problem | null} */ problem) {
  if (problem?.code === "amount_below_minimum") return t("recharge.too_small", { minimum: money(paise(problem.body.minimum)) });
  if (problem?.code === "amount_above_maximum") return t("recharge.too_large", { maximum: money(paise(problem.body.maximum)) });
  return problem?.fields["amount"] ?? null;
}

/** What will be available: what is, and what is paid, less what is due. @param {{amount_paise: number | null}} props */
function Afterwards({ amount_paise }) {
  const now = balance.value;
  if (!now || !amount_paise) return null;
  const taken_paise = Math.min(now.due_paise, amount_paise);
  const values = { available: money(now.available_paise), amount: money(amount_paise), due: money(taken_paise), after: money(now.available_paise + amount_paise - taken_paise) };
  return html`<p class="xs muted">${t(taken_paise > 0 ? "recharge.after_due" : "recharge.after", values)}</p>`;
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
      return { ...opened, url, payPage };
    }),
  );
  const left = useWait(open.problem);
  const type = (/** @type {string} */ typed) => {
    setText(typed);
    if (open.problem) open.clear();
  };
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (left > 0) return;
    const payPage = window.open("about:blank", "wallet-pay"); // before the wait, or it counts as a pop-up
    const opened = await open.run(payPage);
    if (opened) setOrder(opened);
    else payPage?.close();
  };
  const again = () => {
    order.payPage?.close(); // or two orders could be paid
    setOrder(null);
  };
  if (order) return html`<${Waiting} order=${order} wish=${wanted} again=${again} />`;
  const off = waitReason(left) ?? (amount_paise ? null : t("recharge.type_amount"));
  const wrong = refusal(open.problem);
  const isFull = open.problem?.code === "too_many_open_orders";
  return html`<${Dialog} title=${t("recharge.title")} onClose=${() => wanted.decide(false)}>
    <form class="stack" onSubmit=${send}>
      ${wanted.shortfall_paise ? html`<p class="notice small">${t("recharge.missing", { amount: money(wanted.shortfall_paise), available: money(balance.value?.available_paise) })}</p>` : null}
      <${Chips} label=${t("recharge.amounts")} value=${String(amount_paise)} options=${AMOUNTS_PAISE.map((one) => [String(one), money(one).replace(/\.00$/, "")])}
        onChoose=${(/** @type {string} */ one) => type(String(rupees(Number(one))))} />
      <${Field} label=${t("recharge.amount")} value=${text} onInput=${type} inputmode="decimal" autocomplete="off" error=${wrong} />
      <${Afterwards} amount_paise=${amount_paise} />
      ${isFull ? html`<p class="notice small" role="alert">${t("recharge.too_many_open")} <a href="/payments" onClick=${() => wanted.decide(false)}>${t("recharge.see_open")}</a></p>` : open.problem && !wrong ? html`<${Failed} problem=${open.problem} />` : null}
      <div class="row"><${Button} type="submit" kind="primary" isBusy=${open.isBusy} off=${off}>${t("recharge.pay", { amount: money(amount_paise) })}<//></div>
      <p class="xs muted">${t("recharge.where")}</p>
    </form>
  <//>`;
}
