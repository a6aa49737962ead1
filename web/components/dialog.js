// @ts-check
/** Dialogs: the browser's own, which keeps the focus inside and closes on Escape; and asking before a deed. */

import { html, newId, useEffect, useRef, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { useAction } from "../core/data.js";
import { Button, Field } from "./field.js";
import { Failed } from "./states.js";

/** @param {{title: string, onClose?: () => void, children: any, isWide?: boolean}} props without `onClose` it stays open */
export function Dialog({ title, onClose, children, isWide = false }) {
  const box = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [id] = useState(() => newId("dialog"));
  useEffect(() => {
    const dialog = box.current;
    if (!dialog) return undefined;
    if (!dialog.open) dialog.showModal();
    return () => dialog.close();
  }, []);
  const close = (/** @type {Event} */ event) => {
    event.preventDefault();
    onClose?.();
  };
  return html`<dialog ref=${box} class=${`dialog ${isWide ? "wide" : ""}`} aria-labelledby=${id} onCancel=${close}>
    <div class="row spread"><h2 id=${id}>${title}</h2>
      ${onClose ? html`<button class="btn quiet" type="button" aria-label=${t("actions.close")} onClick=${close}>✕</button>` : null}</div>
    ${children}
  </dialog>`;
}

/**
 * Ask before something is done: what will happen, a reason where one is kept, one button that says it.
 *
 * @param {{title: string, children?: any, action: string, kind?: string, needsReason?: boolean, reasonHint?: string, dismiss?: string,
 *   work: (key: string, reason: string) => Promise<any>, onDone: (answer: any) => void, onClose: () => void}} props
 */
export function Ask({ title, children, action, kind = "primary", needsReason = false, reasonHint, dismiss, work, onDone, onClose }) {
  const [reason, setReason] = useState("");
  const deed = useAction(work);
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const answer = await deed.run(reason.trim());
    if (answer !== undefined) onDone(answer);
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form class="stack" onSubmit=${send}>
      ${children}
      ${needsReason ? html`<${Field} label=${t("fields.reason")} hint=${reasonHint ?? t("fields.reason_hint")} value=${reason} onInput=${setReason} required maxlength="500" />` : null}
      ${deed.problem ? html`<${Failed} problem=${deed.problem} />` : null}
      <div class="row"><${Button} type="submit" kind=${kind} isBusy=${deed.isBusy} off=${needsReason && !reason.trim() ? t("fields.reason_missing") : null}>${action}<//>
        <${Button} kind="quiet" onClick=${onClose}>${dismiss ?? t("actions.cancel")}<//></div>
    </form>
  <//>`;
}
