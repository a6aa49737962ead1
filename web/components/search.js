// @ts-check
/** Search from everywhere: an id, a number or an address of mail leads to its page. */

import { html, signal, useEffect, useRef, useState } from "../core/html.js";
import { navigate } from "../core/router.js";
import { isStaff } from "../core/session.js";
import { t } from "../core/texts.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icon.js";

export const isSearching = signal(false);

/** Where a text leads to: pairs of what it is taken for (a key of the texts) and the address. */
export function targets(/** @type {string} */ text, /** @type {boolean} */ staff) {
  const sought = text.trim();
  const escaped = encodeURIComponent(sought);
  /** @type {[RegExp, string, string][]} */
  const kinds = [
    [/^call_\w+$/, "search.call", `/calls/${escaped}`],
    [/^cmp_\w+$/, "search.campaign", `/campaigns/${escaped}`],
    [/^txn_\w+$/, "search.transaction", `/transactions/${escaped}`],
    [/^order_\w+$/, "search.order", `/payments/${escaped}`],
    [/^(pay|rfnd|ref|disp)_\w+$/, "search.payment", `/payments?q=${escaped}`],
    [/^\+?[\d\s()-]{7,20}$/, "search.number", `/numbers/${encodeURIComponent(sought.replace(/[\s()-]/g, ""))}`],
  ];
  if (staff) {
    kinds.push([/^usr_\w+$/, "search.user", `/admin/users/${escaped}`]);
    kinds.push([/^(?!\w+_\w{10,})[^\d+].*/, "search.users", `/admin/users?search=${escaped}`]);
  }
  return kinds.filter(([pattern]) => sought && pattern.test(sought)).map(([, name, href]) => [name, href]);
}

export function Search() {
  return html`<button class="btn quiet search-button" type="button" onClick=${() => { isSearching.value = true; }} aria-label=${t("search.open")}><${Icon} name="search" /><kbd class="hide-s">/</kbd></button>
    ${isSearching.value ? html`<${Box} />` : null}`;
}

function Box() {
  const [text, setText] = useState("");
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => input.current?.focus(), []);
  const close = () => { isSearching.value = false; };
  const found = targets(text, isStaff.value);
  const go = (/** @type {string} */ href) => {
    close();
    navigate(href);
  };
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (found[0]) go(/** @type {string} */ (found[0][1]));
  };
  return html`<${Dialog} title=${t("search.title")} onClose=${close}>
    <form class="stack" role="search" onSubmit=${send}>
      <label class="hidden" for="search">${t("search.label")}</label>
      <input ref=${input} id="search" class="input" type="search" autocomplete="off" placeholder=${t("search.label")} value=${text} onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)} />
      <ul class="plain">${found.map(([name, href]) => html`<li key=${href}><a href=${href} onClick=${close}>${t(/** @type {string} */ (name), { text: text.trim() })}</a></li>`)}</ul>
      <p class="xs muted">${t(isStaff.value ? "search.hint_staff" : "search.hint")}</p>
    </form>
  <//>`;
}
