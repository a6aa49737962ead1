// @ts-check
/** A new rate card: chosen, compared with the one in force, and only then put in force. */

import { request } from "../core/api.js";
import { useAction } from "../core/data.js";
import { html, useRef, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { Button, Field } from "./field.js";
import { Icon } from "./icon.js";
import { Preview } from "./rates_preview.js";
import { dateOf, When } from "./rates_when.js";
import { Failed } from "./states.js";
import { say } from "./toast.js";

/** @param {{onDone: () => void}} props */
export function NewCard({ onDone }) {
  const [file, setFile] = useState(/** @type {File | null} */ (null));
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [isOver, setIsOver] = useState(false);
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const preview = useAction((_, /** @type {File} */ chosen) => {
    const form = new FormData();
    form.append("file", chosen);
    return request("POST", "/api/admin/rate-cards/preview", { form });
  });
  const choose = async (/** @type {File | null | undefined} */ chosen) => {
    if (!chosen) return;
    setFile(chosen);
    setFound(null);
    const answer = await preview.run(chosen);
    if (answer) setFound(answer);
  };
  const forget = () => {
    setFile(null);
    setFound(null);
    preview.clear();
    if (input.current) input.current.value = "";
  };
  const drop = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    setIsOver(false);
    void choose(event.dataTransfer?.files[0]);
  };
  const done = () => {
    forget();
    onDone();
  };
  return html`<section class="card"><header><h2>${t("rates.new_card")}</h2>${file ? html`<${Button} kind="quiet" onClick=${forget}>${t("rates.other_file")}<//>` : null}</header><div class="body stack">
    ${file ? html`<p><strong><bdi>${file.name}</bdi></strong> ${preview.isBusy ? html`<span class="muted" role="status">${t("rates.comparing")}</span>` : null}</p>`
      : html`<div class=${`drop ${isOver ? "over" : ""}`} onDragOver=${(/** @type {DragEvent} */ event) => { event.preventDefault(); setIsOver(true); }} onDragLeave=${() => setIsOver(false)} onDrop=${drop}>
          <${Icon} name="tag" /><strong>${t("rates.drop")}</strong><span class="small muted">${t("rates.drop_why")}</span>
          <label class="btn" for="card-file">${t("rates.choose")}</label></div>`}
    <input ref=${input} id="card-file" class="hidden" type="file" accept=".csv,text/csv" onChange=${(/** @type {any} */ event) => void choose(event.currentTarget.files[0])} aria-label=${t("rates.choose")} />
    ${preview.problem ? html`<${Failed} problem=${preview.problem} retry=${() => void choose(file)} />` : null}
    ${found ? html`<${Preview} found=${found} />` : null}
    ${file && found?.ok ? html`<${Put} file=${file} found=${found} onDone=${done} />` : null}
  </div></section>`;
}

/** @param {{file: File, found: any, onDone: () => void}} props */
function Put({ file, found, onDone }) {
  const [note, setNote] = useState("");
  const [when, setWhen] = useState("");
  const from = dateOf(when);
  const put = useAction((key) => {
    const form = new FormData();
    form.append("file", file);
    if (note.trim()) form.append("note", note.trim());
    if (from) form.append("effective_from", from.iso);
    return request("POST", "/api/admin/rate-cards", { form, key });
  });
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const card = await put.run();
    if (!card) return;
    say(t(from ? "rates.put_later_done" : "rates.put_done", { version: card.version, when: from?.shown ?? "" }));
    onDone();
  };
  const off = when && !from ? t("rates.when_wrong") : null;
  return html`<form class="stack" onSubmit=${send}><hr class="line" />
    <div class="form-grid"><${Field} label=${t("rates.note")} value=${note} onInput=${setNote} maxlength="200" hint=${t("rates.note_hint")} /><${When} value=${when} onInput=${setWhen} /></div>
    <p class="small muted">${t("rates.put_says")}</p>
    ${put.problem ? html`<${Failed} problem=${put.problem} />` : null}
    <div class="row"><${Button} kind="primary" type="submit" isBusy=${put.isBusy} off=${off}>${from ? t("rates.put_later", { count: found.rows_count, when: from.shown }) : t("rates.put", { count: found.rows_count })}<//></div></form>`;
}
