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
const orderId = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const asked = `/api/payment/orders/${encodeURIComponent(orderId)}/checkout`;

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
    script.onerror = () => reject(new Error(t("pay.script")));
    document.head.append(script);
  });
}

function PayPage() {
  const [order, setOrder] = useState(/** @type {any} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const [told, setTold] = useState(/** @type {{kind: string, text: string} | null} */ (null));
  const [isOpening, setIsOpening] = useState(false);
  const isOpened = useRef(false);

  const look = async () => {
    try {
      const found = await get(asked);
      setProblem(null);
      setOrder(found);
      if (found.is_paid) announce();
      return found;
    } catch (failure) {
      if (!(failure instanceof Problem)) throw failure;
      setProblem(failure);
      return null;
    }
  };

  const open = async (/** @type {any} */ found) => {
    setIsOpening(true);
    setTold(null);
    try {
      const Razorpay = /** @type {any} */ (window).Razorpay ?? (await loadCheckout(found.checkout_url));
      const checkout = new Razorpay({
        key: found.key_id,
        order_id: found.order_id,
        name: t("product"),
        description: t("pay.title", { amount: money(paise(found.amount)) }),
        handler: async (/** @type {any} */ response) => {
          setTold({ kind: "", text: t("pay.pending") });
          // Whoever is logged in here has it at once; for everybody else Razorpay's message brings it.
          await post("/api/payment/verify", response).catch(() => undefined);
          await look();
        },
        modal: { ondismiss: () => setTold({ kind: "", text: t("pay.dismissed") }) },
      });
      checkout.on("payment.failed", (/** @type {any} */ answer) => {
        setTold({ kind: "bad", text: t("pay.failed", { reason: answer.error?.description ?? answer.error?.reason ?? "" }) });
        announce();
      });
      checkout.open();
    } catch (failure) {
      setTold({ kind: "bad", text: /** @type {Error} */ (failure).message });
    }
    setIsOpening(false);
  };

  useEffect(() => {
    void look().then((found) => {
      if (found && found.can_be_paid && !isOpened.current) {
        isOpened.current = true;
        void open(found);
      }
    });
    const timer = setInterval(() => void look(), POLL_MS);
    return () => clearInterval(timer);
  }, []);

  const amount = money(paise(order?.amount));
  document.title = t("pay.title", { amount });
  let body;
  if (problem?.status === 404) body = html`<p>${t("pay.unknown")}</p>`;
  else if (!order) body = problem ? html`<${Failed} problem=${problem} retry=${() => void look()} />` : html`<${Loading} />`;
  else if (order.is_paid) body = html`<p class="notice ok" role="status"><strong>${t("pay.paid", { amount })}</strong></p><p class="small muted">${t("pay.close")}</p>`;
  else {
    body = html`${told ? html`<p class=${`notice ${told.kind}`} role="alert">${told.text}</p>` : null}
      ${order.can_be_paid
        ? html`<button class="btn primary" type="button" disabled=${isOpening} onClick=${() => void open(order)}>${t(isOpening ? "pay.loading" : "pay.pay", { amount })}</button>`
        : html`<p>${t("pay.expired")}</p>`}`;
  }
  return html`<${Banner} /><main id="main" class="alone"><div class="card door-card"><div class="brand"><${Logo} /><span>${t("product")}</span></div>
    <h1>${t("pay.title", { amount })}</h1><div class="stack" aria-live="polite">${body}</div><a class="small" href="/" data-plain>${t("pay.back")}</a></div></main>`;
}

async function start() {
  setTheme(theme.value);
  await startLanguage();
  render(html`<${PayPage} />`, /** @type {Element} */ (document.getElementById("app")));
}

void start();
