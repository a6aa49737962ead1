// @ts-check
/** The comparison with Razorpay: run it, see how far it is, read its reports. */

import { post, Problem } from "../core/api.js";
import { useAction, useData } from "../core/data.js";
import { count, time } from "../core/format.js";
import { html } from "../core/html.js";
import { query, setQuery } from "../core/router.js";
import { isAdmin, me } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { Report } from "./books_report.js";
import { Button } from "./field.js";
import { Empty, Failed, Shown, Tag } from "./states.js";
import { Table } from "./table.js";
import { say } from "./toast.js";

export function Reconciliation() {
  const found = useData("/api/admin/reconciliation", { limit: 30 }, { every_ms: 5_000 });
  const running = found.data?.running;
  const run = useAction(async () => {
    try {
      return await post("/api/admin/reconciliation/run", { older_than_minutes: 0 });
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.status !== 409) throw problem;
      say(t("books.recon.goes_on"));
      return null;
    } finally {
      found.reload();
    }
  });
  const start = async () => {
    const report = await run.run();
    if (report?.run_id) setQuery({ run: report.run_id });
  };
  return html`<section class="card"><header><h2>${t("books.recon.title")}</h2>${isAdmin.value ? html`<${Button} kind="primary" isBusy=${run.isBusy} off=${running && !run.isBusy ? t("books.recon.one_runs") : null} onClick=${() => void start()}>${t("books.recon.run")}<//>` : null}</header>
    <div class="body stack"><p class="small muted">${t("books.recon.what")} <a href="/admin/review">${t("books.to_queue")}</a></p>
      ${run.problem ? html`<${Failed} problem=${run.problem} />` : null}
      ${running ? html`<${Running} run=${running} />` : null}</div></section>
    <${Shown} of=${found}>${(/** @type {any} */ all) => html`<${Runs} runs=${all.runs} />`}<//>`;
}

/** @param {{run: any}} props */
function Running({ run }) {
  const checked = Object.entries(run.checked).map(([name, number]) => `${named("books.recon.things", name)} ${count(/** @type {number} */ (number))}`);
  return html`<div class="stack tight" role="status"><div class="row"><${Tag} kind="live">${t("books.recon.running")}<//><span>${t("books.recon.step", { step: named("books.recon.things", run.step), when: time(run.started_at) })}</span></div>
    <p class="small muted">${checked.join(" · ") || t("books.recon.begins")}</p></div>`;
}

/** @param {{runs: any[]}} props */
function Runs({ runs }) {
  if (!runs.length) return html`<section class="card"><${Empty} icon="scale" title=${t("books.recon.none")} /></section>`;
  const chosen = query.value.get("run") ?? runs[0].run_id;
  const report = runs.find((run) => run.run_id === chosen);
  const columns = [
    { title: t("books.recon.when"), show: (/** @type {any} */ run) => html`<a href=${`/admin/books?part=reconciliation&run=${run.run_id}`}>${time(run.started_at)}</a><span class="sub">${whoOf(run)}</span>` },
    { title: t("books.recon.result"), show: (/** @type {any} */ run) => html`<${Tag} kind=${kindOf(run)}>${resultOf(run)}<//>` },
    { title: t("books.recon.repaired"), isNumber: true, isMinor: true, show: (/** @type {any} */ run) => count(run.repaired_count) },
    { title: t("books.recon.findings"), isNumber: true, isMinor: true, show: (/** @type {any} */ run) => count(run.findings_count) },
    { title: t("books.recon.unanswered"), isNumber: true, isMinor: true, show: (/** @type {any} */ run) => count(run.unanswered_count) },
  ];
  return html`<div class="split"><section class="card"><header><h2>${t("books.recon.reports")}</h2></header><${Table} caption=${t("books.recon.reports")} columns=${columns} rows=${runs} id=${(/** @type {any} */ run) => run.run_id} isOn=${(/** @type {any} */ run) => run.run_id === chosen} /></section>
    ${report ? html`<${Report} run=${report} />` : html`<section class="card"><${Empty} title=${t("books.recon.not_listed")} /></section>`}</div>`;
}

const whoOf = (/** @type {any} */ run) => (run.trigger === "worker" ? t("books.recon.by_itself") : run.trigger === me.value?.id ? t("books.recon.by_you") : t("books.recon.by_admin"));
const kindOf = (/** @type {any} */ run) => (run.ok ? "ok" : run.findings_count ? "bad" : "warn");

function resultOf(/** @type {any} */ run) {
  if (run.ok) return t("books.recon.agrees");
  if (run.findings_count) return t("books.recon.has_findings", { count: run.findings_count });
  return run.repaired_count ? t("books.recon.has_repairs", { count: run.repaired_count }) : t("books.recon.has_unanswered", { count: run.unanswered_count });
}
