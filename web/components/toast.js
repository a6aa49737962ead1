// @ts-check
/** Messages that come and go: what has been done, told to screen readers, too. */

import { html, signal } from "../core/html.js";

const messages = signal(/** @type {{id: number, text: string}[]} */ ([]));
const SHOWN_MS = 6_000;
let last = 0;

/** Say what has been done. */
export function say(/** @type {string} */ text) {
  last += 1;
  const id = last;
  messages.value = [...messages.value, { id, text }].slice(-3);
  setTimeout(() => {
    messages.value = messages.value.filter((message) => message.id !== id);
  }, SHOWN_MS);
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">${messages.value.map((message) => html`<div key=${message.id} class="toast">${message.text}</div>`)}</div>`;
}
