// @ts-check
/** The banner: always there where no real money is paid, or nobody is called. */

import { html } from "../core/html.js";
import { t } from "../core/texts.js";

/** Razorpay's mode ('sandbox', 'test', 'live') and the telephone network, as the service runs. */
const about = (/** @type {string} */ name) => document.querySelector(`meta[name="wallet-${name}"]`)?.getAttribute("content") ?? "";
export const mode = about("mode");
export const network = about("network");

/** Whether this is play money or a test: always there, on every page. */
export function Banner() {
  const parts = [];
  if (mode && mode !== "live") parts.push(t(mode === "sandbox" ? "banner.sandbox" : "banner.test"));
  if (network === "simulator") parts.push(t("banner.simulator"));
  return parts.length ? html`<aside class="banner" aria-label=${t("banner.label")}>${parts.join(" ")}</aside>` : null;
}
