// @ts-check
/** Fields of forms: a label, a hint, what is wrong with it; and buttons that say why they are off. */

import { html, newId, useState } from "../core/html.js";
import { t } from "../core/texts.js";

/**
 * @param {{label: string, value: string, onInput: (value: string) => void, hint?: any, error?: string | null | undefined,
 *   type?: string, isArea?: boolean, options?: [string, string][], [more: string]: any}} props
 *   `options`: a choice among these (value, text); `isArea`: more than one line; `more`: attributes of the input
 */
export function Field({ label, value, onInput, hint, error, type = "text", isArea = false, options, ...more }) {
  const [id] = useState(() => newId("field"));
  const described = [hint ? `${id}-hint` : "", error ? `${id}-error` : ""].filter(Boolean).join(" ") || undefined;
  const shared = {
    id,
    class: `input ${isArea ? "area" : ""}`,
    value,
    "aria-describedby": described,
    "aria-invalid": error ? "true" : undefined,
    ...more,
  };
  const heard = (/** @type {any} */ event) => onInput(event.currentTarget.value);
  const input = options
    ? html`<select ...${shared} onChange=${heard}>${options.map(([key, text]) => html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`)}</select>`
    : isArea
      ? html`<textarea ...${shared} rows=${more.rows ?? 3} onInput=${heard}></textarea>`
      : html`<input ...${shared} type=${type} onInput=${heard} />`;
  return html`<div class="field"><label for=${id}>${label}</label>${input}
    ${hint ? html`<span class="hint" id=${`${id}-hint`}>${hint}</span>` : null}
    ${error ? html`<span class="error" id=${`${id}-error`}>${error}</span>` : null}</div>`;
}

/** @param {{label: any, isOn: boolean, onChange: (isOn: boolean) => void, [more: string]: any}} props */
export function Check({ label, isOn, onChange, ...more }) {
  return html`<label class="check"><input type="checkbox" checked=${isOn} onChange=${(/** @type {any} */ event) => onChange(event.currentTarget.checked)} ...${more} /><span>${label}</span></label>`;
}

/** A row of choices of which one is on. @param {{label: string, value: string, options: [string, any][], onChoose: (value: string) => void}} props */
export function Chips({ label, value, options, onChoose }) {
  return html`<div class="chips" role="group" aria-label=${label}>
    ${options.map(([key, text]) => html`<button key=${key} type="button" class="chip" aria-pressed=${String(key === value)} onClick=${() => onChoose(key)}>${text}</button>`)}
  </div>`;
}

/**
 * A button that says what happens; while it happens it says so, and when it is off it says why.
 *
 * @param {{children: any, onClick?: () => void, kind?: string, type?: string, isBusy?: boolean, off?: string | null | false | undefined, [more: string]: any}} props
 *   `off`: the reason why it cannot be pressed now
 */
export function Button({ children, onClick, kind = "", type = "button", isBusy = false, off, ...more }) {
  const [id] = useState(() => newId("why"));
  return html`<span class="button-with-reason"><button class=${`btn ${kind}`} type=${type} disabled=${Boolean(off) || isBusy} aria-busy=${String(isBusy)} aria-describedby=${off ? id : undefined} onClick=${onClick} ...${more}>
    ${isBusy ? t("states.working") : children}</button>
    ${off ? html`<span class="hint xs" id=${id}>${off}</span>` : null}</span>`;
}
