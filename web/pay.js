// @ts-check
/**
 * The payment of one order, on a page of its own: Razorpay's script needs a looser policy than the console,
 * and a link in a message leads here. Whoever pays need not be logged in.
 */

import { Banner } from "./components/banner.js";
import { Failed, Loading } from "./components/states.js";
import { get, post, Problem } from "./core/api.js";
import { money, paise } from "./core/format.js";
import { html, render, useEffect, useRef, useState } from "./core/html.js";
import { startLanguage, t } from "./core/texts.js";
import { setTheme, theme } from "./core/theme.js";
import { Logo } from "./components/icon.js";

const POLL_MS = 2_000;
const POLL_LATER_MS = 10_000;
const OFTEN_MS = 120_000;
const orderId = decoded(location.pathname.split("/")[2] ?? "");
const asked = `/api/payment/orders/${encodeURIComponent(orderId)}`;
const hasConsole = window.opener !== null || window.name === "wallet-pay";

function decoded(/** @type {string} */ part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // no address of ours: there is no such order
  }
}

/** Whether somebody has paid here already, as far as this tab knows: Razorpay's confirmation may be under way. */
const handed = {
  get: () => sessionStorage.getItem(`wallet.paid.${orderId}`) !== null,
  set: () => sessionStorage.setItem(`wallet.paid.${orderId}`, "1"),
};

/** Tell the other pages of this browser that they should look. */
function announce() {
  if ("BroadcastChannel" in window) new BroadcastChannel("wallet.payments").postMessage(orderId);
}

/** Razorpay's own script, from where the service says. @returns {Promise<any>} */
function loadCheckout(/** @type {string} */ url) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(/** @type {any} */ (window).Razorpay);
    script.onerror = () => {
      script.remove();
      reject(new Error(t("pay.script")));
    };
    document.head.append(script);
  });
}

/** The order as its payment page may see it, asked for until it is paid. */
function useOrder() {
  const [order, setOrder] = useState(/** @type {any} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const timer = useRef(0);
  const begun = useRef(Date.now());
  const look = async () => {
    clearTimeout(timer.current);
    let found = null;
    let pause_ms = Date.now() - begun.current < OFTEN_MS ? POLL_MS : POLL_LATER_MS;
    try {
      found = await get(`${asked}/checkout`);
      setProblem(null);
      setOrder(found);
      if (found.is_paid) announce();
    } catch (failure) {
      if (!(failure instanceof Problem)) throw failure;
      setProblem(failure);
      if (failure.status === 404) return null;
      pause_ms = Math.max(pause_ms, (failure.retryAfterSeconds ?? 0) * 1_000);
    }
    clearTimeout(timer.current);
    if (!found?.is_paid) timer.current = setTimeout(() => void look(), pause_ms);
    return found;
  };
  const oftenAgain = () => { begun.current = Date.now(); };
  return { order, problem, look, oftenAgain };
}

/** @typedef {{kind: string, text: string}} Told */

/** Open Razorpay's Checkout for an order; `tell` says what comes of it. */
async function openCheckout(/** @type {any} */ order, /** @type {(told: Told | null) => void} */ tell, /** @type {() => Promise<any>} */ look) {
  const Razorpay = /** @type {any} */ (window).Razorpay ?? (await loadCheckout(order.checkout_url));
  const checkout = new Razorpay({
    key: order.key_id,
    order_id: order.order_id,
    name: t("product"),
    description: t("pay.title", { amount: money(paise(order.amount)) }),
    handler: async (/** @type {any} */ response) => {
      handed.set();
      tell({ kind: "", text: t("pay.pending") });
      announce();
      // Whoever is logged in here has it at once; for everybody else Razorpay's message brings it.
      const refused = await post("/api/payment/verify", response).then(() => null, (problem) => problem);
      if (refused instanceof Problem && refused.code === "payment_mismatch") tell({ kind: "bad", text: refused.message });
      await look();
    },
    modal: { ondismiss: () => { if (!handed.get()) tell({ kind: "", text: t("pay.dismissed") }); void look(); } },
  });
  checkout.on("payment.failed", (/** @type {any} */ answer) => {
    tell({ kind: "bad", text: t("pay.failed", { reason: answer.error?.description ?? answer.error?.reason ?? "" }) });
    announce();
  });
  checkout.open();
}

/** @param {{amount: string}} props */
const Paid = ({ amount }) => html`<p class="notice ok" role="status"><strong>${t("pay.paid", { amount })}</strong></p>
  <p class="small muted">${t(hasConsole ? "pay.goes_on" : "pay.close")}</p>
  ${hasConsole ? html`<div class="row"><button class="btn primary" type="button" onClick=${() => close()}>${t("pay.close_now")}</button></div>` : null}`;

/** @param {{order: any, told: Told | null, isOpening: boolean, onPay: () => void}} props */
function Unpaid({ order, told, isOpening, onPay }) {
  const isPending = order.is_pending || (handed.get() && told?.kind !== "bad");
  const shown = told && !(isPending && told.kind === "") ? told : isPending ? { kind: "", text: t("pay.pending") } : null;
  const amount = money(paise(order.amount));
  return html`${shown ? html`<p class=${`notice ${shown.kind}`} role="alert">${shown.text}</p>` : null}
    ${!order.can_be_paid ? html`<p>${t("pay.expired")}</p>` : html`<div class="row"><button class=${isPending ? "btn" : "btn primary"} type="button" disabled=${isOpening} aria-busy=${String(isOpening)} onClick=${onPay}>${t(isOpening ? "pay.loading" : isPending ? "pay.pay_again" : "pay.pay", { amount })}</button></div>
      ${isPending ? html`<p class="small muted">${t("pay.twice")}</p>` : null}`}`;
}

function PayPage() {
  const { order, problem, look, oftenAgain } = useOrder();
  const [told, setTold] = useState(/** @type {Told | null} */ (null));
  const [isOpening, setIsOpening] = useState(false);
  const open = async (/** @type {any} */ found) => {
    setIsOpening(true);
    setTold(null);
    oftenAgain();
    try {
      await openCheckout(found, setTold, look);
    } catch (failure) {
      setTold({ kind: "bad", text: /** @type {Error} */ (failure).message });
    }
    setIsOpening(false);
  };
  useEffect(() => {
    // Opened at once, unless a payment may be on its way: nobody should pay twice.
    void look().then((found) => {
      if (found?.can_be_paid && !found.is_pending && !handed.get()) void open(found);
    });
    const again = () => {
      if (document.visibilityState === "visible") { oftenAgain(); void look(); }
    };
    document.addEventListener("visibilitychange", again);
    return () => document.removeEventListener("visibilitychange", again);
  }, []);
  const amount = order ? money(paise(order.amount)) : null;
  const title = amount ? t("pay.title", { amount }) : t("recharge.title");
  document.title = `${title} · ${t("product")}`;
  let body;
  if (problem?.status === 404) body = html`<p class="notice" role="alert">${t("pay.unknown")}</p>`;
  else if (!order) body = problem ? html`<${Failed} problem=${problem} retry=${() => void look()} />` : html`<${Loading} />`;
  else if (order.is_paid) body = html`<${Paid} amount=${amount ?? ""} />`;
  else body = html`${problem ? html`<${Failed} problem=${problem} retry=${() => void look()} />` : null}<${Unpaid} order=${order} told=${told} isOpening=${isOpening} onPay=${() => void open(order)} />`;
  return html`<${Banner} /><main id="main" class="alone"><div class="card door-card"><div class="brand"><${Logo} /><span>${t("product")}</span></div>
    <h1>${title}</h1><div class="stack" aria-live="polite">${body}</div>
    ${order ? html`<p class="xs muted">${t("pay.order")} <span class="mono">${order.order_id}</span></p>` : null}
    <a class="small" href="/" data-plain>${t("pay.back")}</a></div></main>`;
}

async function start() {
  setTheme(theme.value);
  await startLanguage();
  render(html`<${PayPage} />`, /** @type {Element} */ (document.getElementById("app")));
}

void start();
