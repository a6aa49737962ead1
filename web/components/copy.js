// @ts-check
/** A text to copy: shown whole, and a button that puts it on the clipboard. */

import { html, useRef, useState } from "../core/html.js";
import { t } from "../core/texts.js";

/** @param {{text: string, label: string}} props `label`: what it is, for those who do not see it */
export function Copy({ text, label }) {
  const shown = useRef(/** @type {HTMLElement | null} */ (null));
  const [isCopied, setIsCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setIsCopied(true);
    } catch {
      // Not allowed here: it is selected instead, for the keys that copy.
      if (shown.current) getSelection()?.selectAllChildren(shown.current);
    }
  };
  return html`<div class="copy"><code ref=${shown} class="secret" aria-label=${label}>${text}</code>
    <button class="btn" type="button" onClick=${() => void copy()}>${t(isCopied ? "account.copied" : "account.copy")}</button></div>`;
}
