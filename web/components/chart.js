// @ts-check
/** Charts: bars as elements, series on a canvas by uPlot; each has a table behind a toggle. */

import { html, useEffect, useRef, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { theme } from "../core/theme.js";
import { Table } from "./table.js";

/**
 * @typedef {object} Series
 * @property {string} title
 * @property {(number | null)[]} values null: unknown, a gap
 * @property {number} colour 1 to 6: of the tokens
 */

/**
 * A chart with its legend and, on request, its numbers as a table.
 *
 * @param {{title: string, labels: string[], series: Series[], show: (value: number | null) => string, kind?: "bars" | "line"}} props
 *   `labels`: what each value belongs to, as text ('27 Nov 2026')
 */
export function Chart({ title, labels, series, show, kind = "line" }) {
  const [isTable, setIsTable] = useState(false);
  const rows = labels.map((label, i) => ({ label, values: series.map((one) => one.values[i] ?? null) }));
  const columns = [
    { title: t("chart.when"), show: (/** @type {any} */ row) => row.label },
    ...series.map((one, i) => ({ title: one.title, isNumber: true, show: (/** @type {any} */ row) => show(row.values[i]) })),
  ];
  return html`<figure class="chart-box">
    <div class="row spread"><div class="legend">${series.map((one) => html`<span key=${one.title}><i class=${`c${one.colour}`}></i>${one.title}</span>`)}</div>
      <button class="btn quiet xs" type="button" aria-pressed=${String(isTable)} onClick=${() => setIsTable(!isTable)}>${t(isTable ? "chart.as_chart" : "chart.as_table")}</button></div>
    ${isTable
      ? html`<div class="chart-table"><${Table} caption=${title} columns=${columns} rows=${rows} id=${(/** @type {any} */ row) => row.label} /></div>`
      : kind === "bars"
        ? html`<${Bars} title=${title} labels=${labels} series=${series} show=${show} />`
        : html`<${Line} title=${title} labels=${labels} series=${series} show=${show} />`}
  </figure>`;
}

/** Stacked bars, as SVG whose labels are never stretched. @param {{title: string, labels: string[], series: Series[], show: (value: number | null) => string}} props */
export function Bars({ title, labels, series, show }) {
  const sums = labels.map((_, i) => series.reduce((sum, one) => sum + (one.values[i] ?? 0), 0));
  const most = Math.max(...sums, 0);
  const width = 100 / Math.max(labels.length, 1);
  const summary = t("chart.summary", { title, from: labels[0] ?? "", to: labels.at(-1) ?? "", most: show(most) });
  return html`<div class="bars" role="img" aria-label=${summary}>
    <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
      ${labels.map((label, i) => {
        let top = 100;
        return html`<g key=${label}><title>${label}: ${series.map((one) => `${one.title} ${show(one.values[i] ?? null)}`).join(", ")}</title>
          ${series.map((one) => {
            const height = most > 0 ? ((one.values[i] ?? 0) / most) * 100 : 0;
            top -= height;
            return html`<rect key=${one.title} class=${`f${one.colour}`} x=${i * width + width * 0.12} width=${width * 0.76} y=${top} height=${height} />`;
          })}</g>`;
      })}
    </svg>
    <div class="row spread xs muted" aria-hidden="true"><span>${labels[0]}</span><span>${t("chart.most", { most: show(most) })}</span><span>${labels.at(-1)}</span></div>
  </div>`;
}

/** The style sheet of uPlot, once, where a chart is drawn. */
function addStyles() {
  if (document.getElementById("uplot-styles")) return;
  const link = document.createElement("link");
  link.id = "uplot-styles";
  link.rel = "stylesheet";
  link.href = new URL("../vendor/uplot.css", import.meta.url).href;
  document.head.append(link);
}

/** A line over time, on a canvas. @param {{title: string, labels: string[], series: Series[], show: (value: number | null) => string}} props */
function Line({ title, labels, series, show }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const known = series.flatMap((one) => one.values).filter((value) => value !== null);
  const most = Math.max(0, .../** @type {number[]} */ (known));
  const summary = t("chart.summary", { title, from: labels[0] ?? "", to: labels.at(-1) ?? "", most: show(most) });
  const drawn = JSON.stringify([labels, series]);
  useEffect(() => {
    let plot = /** @type {any} */ (null);
    let isGone = false;
    const element = /** @type {HTMLDivElement} */ (box.current);
    addStyles();
    const watch = new ResizeObserver(() => plot?.setSize({ width: element.clientWidth, height: 180 }));
    void import("../vendor/uplot.js").then(({ default: UPlot }) => {
      if (isGone) return;
      const style = getComputedStyle(document.documentElement);
      const token = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
      const axis = { stroke: token("--ink-3"), grid: { stroke: token("--line"), width: 1 }, ticks: { show: false }, font: "11px sans-serif" };
      plot = new UPlot(
        {
          width: element.clientWidth,
          height: 180,
          legend: { show: false },
          cursor: { drag: { x: false, y: false } },
          scales: { x: { time: false }, y: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ max) => [0, max > 0 ? max * 1.1 : 1] } },
          axes: [
            { ...axis, values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((i) => (Number.isInteger(i) ? (labels[i] ?? "").replace(/ \d{4}$/, "") : "")) },
            { ...axis, size: 88, values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((value) => show(value).replace(/\.00$/, "")) },
          ],
          series: [{}, ...series.map((one) => ({ label: one.title, stroke: token(`--chart-${one.colour}`), width: 2, fill: `${token(`--chart-${one.colour}`)}22` }))],
        },
        [labels.map((_, i) => i), ...series.map((one) => one.values)],
        element,
      );
      watch.observe(element);
    });
    return () => {
      isGone = true;
      watch.disconnect();
      plot?.destroy();
    };
  }, [drawn, theme.value]);
  return html`<div ref=${box} class="line-chart" role="img" aria-label=${summary}></div>`;
}
