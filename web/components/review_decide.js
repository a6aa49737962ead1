// @ts-check
/** Deciding: a reason, and buttons of which each says what will happen. */

import { useAction } from "../core/data.js";
import { html, useState } from "../core/html.js";
import { refresh } from "../core/live.js";
import { isAdmin } from "../core/session.js";
import { t } from "../core/texts.js";
import { Button, Field } from "./field.js";
import { Failed } from "./states.js";
import { say } from "./toast.js";

/**
 * @typedef {object} Choice
 * @property {string} id
 * @property {string} label what the button says
 * @property {any} says what happens then
 * @property {string} done what is said afterwards
 * @property {(key: string, reason: string) => Promise<any>} work
 * @property {string} [kind] of the button; the first one is primary
 * @property {string | null | false} [off] why it cannot be chosen now
 */

/**
 * @param {{choices: Choice[], onDone: (answer?: any) => void, needsReason?: boolean, children?: any}} props
 *   An operator sees none of it.
 */
export function Decide({ choices, onDone, needsReason = true, children }) {
  const [reason, setReason] = useState("");
  const [isMissing, setIsMissing] = useState(false);
  const [chosen, setChosen] = useState("");
  const deed = useAction((key, /** @type {Choice} */ choice) => choice.work(key, reason.trim()));
  if (!isAdmin.value) return null;
  const choose = async (/** @type {Choice} */ choice) => {
    if (needsReason && !reason.trim()) return void setIsMissing(true);
    setChosen(choice.id);
    const answer = await deed.run(choice);
    if (answer === undefined) return;
    say(choice.done);
    refresh();
    onDone(answer);
  };
  const write = (/** @type {string} */ text) => {
    setReason(text);
    if (text.trim()) setIsMissing(false);
  };
  return html`<hr class="line" />
    ${children}
    ${needsReason ? html`<${Field} label=${t("fields.reason")} hint=${t("fields.reason_hint")} value=${reason} onInput=${write} maxlength="500" error=${isMissing ? t("fields.reason_missing") : null} placeholder=${t("review.reason_example")} />` : null}
    ${deed.problem ? html`<${Failed} problem=${deed.problem} />` : null}
    <ul class="choices">${choices.map((choice, i) => html`<li key=${choice.id}>
      <${Button} kind=${choice.kind ?? (i === 0 ? "primary" : "")} isBusy=${deed.isBusy && chosen === choice.id} off=${choice.off ?? null} onClick=${() => void choose(choice)}>${choice.label}<//>
      <span class="small muted">${choice.says}</span></li>`)}</ul>`;
}
