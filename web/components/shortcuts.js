// @ts-check
/** Keys: '/' searches, '?' lists them, 'g' and a letter goes somewhere. */

import { html, signal, useEffect } from "../core/html.js";
import { navigate } from "../core/router.js";
import { isStaff } from "../core/session.js";
import { t } from "../core/texts.js";
import { Dialog } from "./dialog.js";
import { recharge } from "./recharge.js";
import { isSearching } from "./search.js";

const isListed = signal(false);
/** @type {Record<string, [string, string]>} */
const PLACES = { h: ["/", "nav.home"], c: ["/calls", "nav.calls"], m: ["/campaigns", "nav.campaigns"], t: ["/transactions", "nav.transactions"], p: ["/payments", "nav.payments"], a: ["/account", "nav.account"] };
/** @type {Record<string, [string, string]>} */
const PLACES_OF_STAFF = { o: ["/admin", "nav.overview"], u: ["/admin/users", "nav.users"], r: ["/admin/review", "nav.review"], b: ["/admin/books", "nav.books"] };

const places = () => (isStaff.value ? { ...PLACES, ...PLACES_OF_STAFF } : PLACES);

export function Shortcuts() {
  useEffect(() => {
    let isGoing = 0;
    const heard = (/** @type {KeyboardEvent} */ event) => {
      const at = /** @type {Element} */ (event.target);
      if (event.ctrlKey || event.metaKey || event.altKey || at.closest("input, textarea, select, dialog")) return;
      const place = places()[event.key];
      if (event.key === "/") isSearching.value = true;
      else if (event.key === "?") isListed.value = true;
      else if (event.key === "g") {
        isGoing = Date.now();
        return;
      } else if (Date.now() - isGoing < 1_500 && place) navigate(place[0]);
      else if (event.key === "+" && !isStaff.value) void recharge();
      else return;
      isGoing = 0;
      event.preventDefault();
    };
    addEventListener("keydown", heard);
    return () => removeEventListener("keydown", heard);
  }, []);
  if (!isListed.value) return null;
  const rows = [["/", t("search.title")], ...(isStaff.value ? [] : [["+", t("actions.recharge")]]), ...Object.entries(places()).map(([key, [, text]]) => [`g ${key}`, t(text)]), ["?", t("shortcuts.title")]];
  return html`<${Dialog} title=${t("shortcuts.title")} onClose=${() => { isListed.value = false; }}>
    <dl class="facts">${rows.map(([key, text]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${text}</dd></div>`)}</dl>
  <//>`;
}
