// @ts-check
/** A field for a password, which can be looked at while it is typed. */

import { html, newId, useState } from "../core/html.js";
import { t } from "../core/texts.js";

/**
 * @param {{label: string, value: string, onInput: (value: string) => void, hint?: any, error?: string | null | undefined, [more: string]: any}} props
 *   `more`: attributes of the input
 */
export function PasswordField({ label, value, onInput, hint, error, ...more }) {
  const [id] = useState(() => newId("password"));
  const [isShown, setIsShown] = useState(false);
  const described = [hint ? `${id}-hint` : "", error ? `${id}-error` : ""].filter(Boolean).join(" ") || undefined;
  return html`<div class="field"><label for=${id}>${label}</label>
    <div class="with-button"><input id=${id} class="input" type=${isShown ? "text" : "password"} value=${value} aria-describedby=${described} aria-invalid=${error ? "true" : undefined}
        spellcheck="false" autocapitalize="off" onInput=${(/** @type {any} */ event) => onInput(event.currentTarget.value)} ...${more} />
      <button class="btn quiet" type="button" aria-pressed=${String(isShown)} aria-label=${t(isShown ? "log_in.hide_password" : "log_in.show_password")} onClick=${() => setIsShown(!isShown)}>${t(isShown ? "log_in.hide" : "actions.show")}</button></div>
    ${hint ? html`<span class="hint" id=${`${id}-hint`}>${hint}</span>` : null}
    ${error ? html`<span class="error" id=${`${id}-error`}>${error}</span>` : null}</div>`;
}
