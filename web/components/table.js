// @ts-check
/** Tables: the columns and rows of a page, as a list that screen readers and phones can read, page by page. */

import { html } from "../core/html.js";
import { query, setQuery } from "../core/router.js";
import { t } from "../core/texts.js";

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {(row: any) => any} show
 * @property {boolean} [isNumber] right-aligned, tabular figures
 * @property {boolean} [isMinor] left out on a phone
 */

/**
 * @param {{caption: string, columns: Column[], rows: any[], id: (row: any) => string, isOn?: (row: any) => boolean}} props
 *   The first column holds the link of the row, if it has one.
 */
export function Table({ caption, columns, rows, id, isOn }) {
  const kind = (/** @type {Column} */ column) =>
    [column.isNumber ? "num" : "", column.isMinor ? "hide-s" : ""].join(" ").trim() || undefined;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}>
    <table class="table">
      <caption class="hidden">${caption}</caption>
      <thead><tr>${columns.map((column) => html`<th key=${column.title} scope="col" class=${kind(column)}>${column.title}</th>`)}</tr></thead>
      <tbody>
        ${rows.map((row) => html`<tr key=${id(row)} class=${isOn?.(row) ? "on" : undefined}>
          ${columns.map((column) => html`<td key=${column.title} class=${kind(column)}>${column.show(row)}</td>`)}
        </tr>`)}
      </tbody>
    </table>
  </div>`;
}

/** The way to older and newer rows; where one is stands in the URL as `cursor`. @param {{next: string | null | undefined, name?: string}} props */
export function Pages({ next, name = "cursor" }) {
  const here = query.value.get(name);
  if (!here && !next) return null;
  return html`<nav class="row pages" aria-label=${t("table.pages")}>
    ${here ? html`<button class="btn quiet" type="button" onClick=${() => setQuery({ [name]: null })}>${t("table.newest")}</button>` : null}
    ${here ? html`<button class="btn" type="button" onClick=${() => history.back()}>${t("table.newer")}</button>` : null}
    ${next ? html`<button class="btn" type="button" onClick=${() => { setQuery({ [name]: next }); scrollTo(0, 0); }}>${t("table.older")}</button>` : null}
  </nav>`;
}

/** Names and values of one thing. @param {{rows: [string, any][]}} props */
export function Facts({ rows }) {
  return html`<dl class="facts">${rows.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** One large figure and what belongs to it. @param {{title: string, value: any, children?: any}} props */
export function Figure({ title, value, children }) {
  return html`<section class="card kpi"><div class="body"><dl><dt>${title}</dt><dd class="money">${value}</dd></dl>${children ? html`<div class="delta">${children}</div>` : null}</div></section>`;
}
