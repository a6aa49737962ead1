// @ts-check
/** One report of the comparison with Razorpay. */

import { count, duration, shortId, time } from "../core/format.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { hrefOf } from "./review_others.js";
import { Facts } from "./table.js";

/** @param {{run: any}} props */
export function Report({ run }) {
  const seconds = (Date.parse(run.finished_at) - Date.parse(run.started_at)) / 1000;
  const checked = Object.entries(run.checked);
  return html`<section class="card"><header><h2>${t("books.recon.report", { when: time(run.started_at) })}</h2><span class="mono xs muted">${shortId(run.run_id)}</span></header><div class="body stack">
    <p class="small muted">${t("books.recon.window", { since: time(run.since), until: time(run.until), time: duration(seconds) })}</p>
    <h3>${t("books.recon.checked")}</h3>
    ${checked.length ? html`<${Facts} rows=${checked.map(([name, number]) => [named("books.recon.things", name), count(/** @type {number} */ (number))])} />` : html`<p class="small muted">${t("books.recon.nothing_checked")}</p>`}
    <${Lines} title=${t("books.recon.repaired_title", { count: count(run.repaired_count) })} rows=${run.repaired} all=${run.repaired_count} none=${t("books.recon.no_repairs")} />
    <${Lines} title=${t("books.recon.findings_title", { count: count(run.findings_count) })} rows=${run.findings} all=${run.findings_count} none=${t("books.recon.no_findings")} />
    ${run.findings_count ? html`<p class="small"><a href="/admin/review?kind=reconciliation">${t("books.to_queue")}</a></p>` : null}
    <h3>${t("books.recon.unanswered_title", { count: count(run.unanswered_count) })}</h3>
    ${run.unanswered.length ? html`<ul class="plain small">${run.unanswered.map((/** @type {string} */ one) => html`<li key=${one}><bdi>${one}</bdi></li>`)}</ul><p class="small muted">${t("books.recon.looks_again")}</p>` : html`<p class="small muted">${t("books.recon.no_unanswered")}</p>`}
  </div></section>`;
}

/** @param {{title: string, rows: any[], all: number, none: string}} props */
function Lines({ title, rows, all, none }) {
  return html`<h3>${title}</h3>${rows.length ? html`<ul class="plain small">${rows.map((row, i) => html`<li key=${i}><strong>${named("books.recon.kinds", row.kind)}</strong><span class="sub">${factsOf(row)}</span></li>`)}</ul>` : html`<p class="small muted">${none}</p>`}
    ${all > rows.length ? html`<p class="small muted">${t("books.recon.only_first", { count: count(rows.length) })}</p>` : null}`;
}

function factsOf(/** @type {any} */ row) {
  return Object.entries(row).filter(([name, value]) => name !== "kind" && value !== null).map(([name, value], i) => {
    const href = hrefOf(String(value));
    return html`${i ? " · " : ""}${named("review.reconciliation.facts", name)} ${href ? html`<a class="mono xs" href=${href}>${shortId(String(value))}</a>` : html`<bdi class="mono xs">${String(value)}</bdi>`}`;
  });
}
