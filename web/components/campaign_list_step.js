// @ts-check
/** The wizard's first step: a file that is dropped or chosen, or numbers that are pasted. */

import { count } from "../core/format.js";
import { html, newId, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { takeFile, takePasted, wizard } from "./campaign_wizard.js";
import { Button, Chips, Field } from "./field.js";
import { Icon } from "./icon.js";

const FILE_BYTES_MAX = 50 * 1024 * 1024;

/** Why a file cannot be a list; null when it may be one. */
export function wrongFile(/** @type {File} */ file) {
  if (file.size === 0) return t("campaigns.list.empty_file");
  if (file.size > FILE_BYTES_MAX) return t("campaigns.list.too_large", { most: count(FILE_BYTES_MAX / 1024 / 1024) });
  if (/\.(xlsx?|ods|numbers|pdf|docx?)$/i.test(file.name)) return t("campaigns.list.workbook");
  return null;
}

/** A place to drop a file on, and a button to choose one. @param {{onFile: (file: File) => void, hint: string, isBusy?: boolean}} props */
export function Drop({ onFile, hint, isBusy = false }) {
  const [isOver, setIsOver] = useState(false);
  const [problem, setProblem] = useState(/** @type {string | null} */ (null));
  const [id] = useState(() => newId("file"));
  const take = (/** @type {File | undefined} */ file) => {
    if (!file || isBusy) return;
    const wrong = wrongFile(file);
    setProblem(wrong);
    if (!wrong) onFile(file);
  };
  const over = (/** @type {any} */ event) => {
    event.preventDefault();
    setIsOver(event.type !== "dragleave");
  };
  const dropped = (/** @type {any} */ event) => {
    over(event);
    setIsOver(false);
    take(event.dataTransfer?.files?.[0]);
  };
  return html`<div class=${`drop ${isOver ? "over" : ""}`} onDragOver=${over} onDragEnter=${over} onDragLeave=${over} onDrop=${dropped}>
    <${Icon} name="down" /><strong>${t("campaigns.list.drop")}</strong>
    <input id=${id} class="hidden file-input" type="file" accept=".csv,.txt,.tsv,text/csv,text/plain" disabled=${isBusy} onChange=${(/** @type {any} */ event) => { take(event.currentTarget.files?.[0]); event.currentTarget.value = ""; }} />
    <label class=${`btn ${isBusy ? "" : "primary"}`} for=${id}>${isBusy ? t("states.working") : t("campaigns.list.choose")}</label>
    <span class="small muted">${hint}</span>
    ${problem ? html`<span class="error small" role="alert">${problem}</span>` : null}
  </div>`;
}

export function ListStep() {
  const { file, isPasted } = wizard.value;
  const [way, setWay] = useState(isPasted ? "paste" : "file");
  const [pasted, setPasted] = useState("");
  const numbers = pasted.split(/[\n,;\t]+/).filter((one) => one.trim()).length;
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    takePasted(pasted);
  };
  return html`<section class="card"><header><h2>${t("campaigns.list.title")}</h2>
      <${Chips} label=${t("campaigns.list.way")} value=${way} options=${[["file", t("campaigns.list.file")], ["paste", t("campaigns.list.paste")]]} onChoose=${setWay} /></header>
    <div class="body stack">
      ${way === "file" ? html`<${Drop} onFile=${takeFile} hint=${t("campaigns.list.limits")} />` : html`<form class="stack" onSubmit=${send}>
        <${Field} isArea label=${t("campaigns.list.numbers")} hint=${t("campaigns.list.numbers_hint")} rows="8" value=${pasted} onInput=${setPasted} spellcheck="false" autocomplete="off" />
        <div class="row"><${Button} type="submit" kind="primary" off=${numbers ? null : t("campaigns.list.no_numbers")}>${t("campaigns.list.check_numbers", { count: count(numbers) })}<//></div></form>`}
      ${file ? html`<p class="small">${t("campaigns.list.chosen")} <bdi>${isPasted ? t("campaigns.list.paste") : file.name}</bdi> <a href="/campaigns/new?step=check">${t("campaigns.list.go_on")}</a></p>` : null}
      <p class="small muted">${t("campaigns.list.story")}</p>
    </div></section>`;
}
