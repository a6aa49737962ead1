// @ts-check
/** The wizard's second step: how the file was read, which column holds the numbers, and who will be called. */

import { Problem } from "../core/api.js";
import { count, phone } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { CheckSums } from "./campaign_check_sums.js";
import { change, goTo, previewOf, wizard } from "./campaign_wizard.js";
import { Field } from "./field.js";
import { Failed, Loading, Tag } from "./states.js";

/** Read the file as soon as there is one, or another column of it was chosen. */
function usePreview() {
  const { file, column, preview } = wizard.value;
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (!file || preview) return undefined;
    const stop = new AbortController();
    setProblem(null);
    previewOf(file, column, stop.signal).then(
      (found) => !stop.signal.aborted && change({ preview: found }),
      (failure) => {
        if (stop.signal.aborted) return;
        if (!(failure instanceof Problem)) throw failure;
        setProblem(failure);
      },
    );
    return () => stop.abort();
  }, [file, column, preview === null, turn]);
  return { problem, again: () => setTurn(turn + 1) };
}

const choose = (/** @type {string} */ column) => change({ column, preview: null });

/** How the file was read, in words. */
function dialect(/** @type {any} */ preview) {
  const { encoding, delimiter, has_header } = preview.dialect;
  return [
    encoding.toUpperCase(),
    named("campaigns.delimiters", delimiter),
    ...(preview.phone_column !== null ? [t(has_header ? "campaigns.check.header" : "campaigns.check.no_header")] : []),
    t("campaigns.check.rows", { count: count(preview.counts.rows) }),
  ].join(" · ");
}

/** @param {{preview: any}} props */
function ColumnChoice({ preview }) {
  const [isOpen, setIsOpen] = useState(false);
  const candidates = preview.candidates ?? [];
  const others = candidates.filter((/** @type {any} */ one) => one.column !== preview.phone_column);
  const isAsked = preview.phone_column === null;
  const button = (/** @type {any} */ one) => html`<button key=${one.column} type="button" class="btn" onClick=${() => choose(one.column)}><bdi>${one.column}</bdi> <span class="muted small">${t("campaigns.check.numbers", { count: count(one.numbers) })}</span></button>`;
  const any = html`<${Field} label=${t("campaigns.check.any_column")} value="" onInput=${(/** @type {string} */ name) => name && choose(name)}
    options=${[["", t("campaigns.check.pick")], ...preview.columns.filter((/** @type {string} */ name) => name && name !== preview.phone_column).map((/** @type {string} */ name) => [name, name])]} />`;
  if (isAsked) {
    return html`<div class="body stack"><div class="notice" role="alert"><div><strong>${t(candidates.length ? "campaigns.check.which" : "campaigns.check.none")}</strong></div></div>
      ${candidates.length ? html`<div class="row">${candidates.map(button)}</div>` : null}${any}</div>`;
  }
  const mine = candidates.find((/** @type {any} */ one) => one.column === preview.phone_column);
  return html`<div class="body stack"><p class="small muted">${t("campaigns.check.read_as")} <strong><bdi>${preview.phone_column}</bdi></strong>, ${named("campaigns.chosen_by", preview.chosen_by)}${mine ? ` (${t("campaigns.check.numbers", { count: count(mine.numbers) })})` : ""}.
      ${others.length ? html` ${t("campaigns.check.also")} ${others.map((/** @type {any} */ one, /** @type {number} */ i) => html`${i ? ", " : ""}<strong><bdi>${one.column}</bdi></strong> (${count(one.numbers)})`)}.` : null}
      ${preview.columns.length > 1 ? html` <button type="button" class="link" aria-expanded=${String(isOpen)} onClick=${() => setIsOpen(!isOpen)}>${t("campaigns.check.other")}</button>` : null}</p>
    ${isOpen ? html`<div class="row">${others.map(button)}</div>${any}` : null}</div>`;
}

/** The cell of the number: as it is read, or what is wrong with it. @param {{row: any, cell: string}} props */
function NumberCell({ row, cell }) {
  if (row.code) {
    return html`<bdi class="struck">${cell || t("campaigns.check.blank")}</bdi> <${Tag} kind=${row.code === "duplicate_in_file" ? "warn" : "bad"}>${named("campaigns.refusals", row.code)}<//><span class="sub">${row.message}</span>`;
  }
  return row.to ? html`<span class="num">${phone(row.to)}</span>` : html`<bdi>${cell}</bdi>`;
}

/** The first rows. @param {{preview: any}} props */
function FirstRows({ preview }) {
  const at = preview.columns.indexOf(preview.phone_column);
  const order = [...preview.columns.keys()].sort((a, b) => Number(b === at) - Number(a === at)); // the number first
  const isHeader = (/** @type {any} */ row) => !row.to && !row.code && row.cells.join("\n") === preview.columns.join("\n");
  const caption = t("campaigns.check.first_rows");
  return html`<div class="scroll first-rows" tabindex="0" role="region" aria-label=${caption}><table class="table"><caption class="hidden">${caption}</caption>
    <thead><tr><th scope="col" class="num hide-s line-number">${t("campaigns.check.line")}</th>${order.map((i) => html`<th key=${i} scope="col">${i === at ? html`<${Tag} kind="ok">${t("campaigns.check.number")}<//> ` : null}<bdi>${preview.columns[i]}</bdi></th>`)}</tr></thead>
    <tbody>${preview.rows.filter((/** @type {any} */ row) => !isHeader(row)).map((/** @type {any} */ row) => html`<tr key=${row.row}><td class="num hide-s muted">${row.row}</td>
      ${order.map((i) => html`<td key=${i}>${i === at ? html`<${NumberCell} row=${row} cell=${row.cells[i] ?? ""} />` : html`<bdi class="cell">${row.cells[i] ?? ""}</bdi>`}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

export function CheckStep() {
  const { file, preview, draft, isPasted } = wizard.value;
  const { problem, again } = usePreview();
  if (!file && draft) return html`<${StoredList} draft=${draft} />`;
  const name = isPasted ? t("campaigns.list.paste") : file?.name;
  if (!preview) {
    return html`<section class="card"><header><h2><bdi>${name}</bdi></h2><button type="button" class="btn quiet" onClick=${() => goTo("list")}>${t("campaigns.check.other_file")}</button></header>
      ${problem ? html`<div class="body"><${Failed} problem=${problem} retry=${again} /></div>` : html`<p class="body small muted" role="status">${t("campaigns.check.reading")}</p><${Loading} lines=${6} />`}</section>`;
  }
  return html`<div class="grid g2 wide-left"><section class="card"><header><div><h2><bdi>${name}</bdi></h2>${isPasted ? null : html`<span class="small muted">${dialect(preview)}</span>`}</div><button type="button" class="btn quiet" onClick=${() => goTo("list")}>${t("campaigns.check.other_file")}</button></header>
      ${preview.phone_column === null ? html`<${ColumnChoice} preview=${preview} /><${FirstRows} preview=${preview} />` : html`<${FirstRows} preview=${preview} /><${ColumnChoice} key=${preview.phone_column} preview=${preview} />`}</section>
    <${CheckSums} preview=${preview} /></div>`;
}

/** The list of a draft, which is stored already. @param {{draft: any}} props */
function StoredList({ draft }) {
  return html`<section class="card"><header><h2>${t("campaigns.check.stored")}</h2></header><div class="body stack">
    <p>${t("campaigns.check.stored_rows", { count: count(draft.counts?.total), refused: count(draft.rejected_count) })}</p>
    ${draft.columns.length ? html`<p class="small muted">${t("campaigns.check.columns")} ${draft.columns.map((/** @type {string} */ one, /** @type {number} */ i) => html`${i ? ", " : ""}<bdi>${one}</bdi>`)}</p>` : null}
    <p class="small muted">${t("campaigns.check.stored_story")}</p>
    <div class="row"><button type="button" class="btn primary" onClick=${() => goTo("message")}>${t("campaigns.check.next")}</button>
      ${draft.rejected_count ? html`<a class="btn" href=${`/api/campaigns/${encodeURIComponent(draft.campaign_id)}/rejected?excel=true`} download>${t("campaigns.refused_csv")}</a>` : null}</div></div></section>`;
}
