// @ts-check
/** The audit: run it, see how far it is, and read what it found. */

import { post } from "../core/api.js";
import { useAction, useData } from "../core/data.js";
import { count, time } from "../core/format.js";
import { html, useEffect } from "../core/html.js";
import { isAdmin } from "../core/session.js";
import { t } from "../core/texts.js";
import { Findings } from "./books_findings.js";
import { TrialBalance } from "./books_trial.js";
import { Button } from "./field.js";
import { Empty, Failed, Shown, Tag } from "./states.js";

const WORKING_MS = 1_500;

export function Audit() {
  const audit = useData("/api/admin/audit");
  const running = runningOf(audit.data);
  const start = useAction(async () => {
    const run = await post("/api/admin/audit");
    audit.reload();
    return run;
  });
  const mine = start.run;
  useEffect(() => {
    if (!running) return undefined;
    const timer = setTimeout(audit.reload, WORKING_MS);
    return () => clearTimeout(timer);
  }, [audit.data]);
  return html`<section class="card"><header><h2>${t("books.audit.title")}</h2>${isAdmin.value ? html`<${Button} kind="primary" isBusy=${start.isBusy} off=${running ? t("books.audit.one_runs") : null} onClick=${() => void mine()}>${t("books.audit.run")}<//>` : null}</header>
    <div class="body stack">${start.problem ? html`<${Failed} problem=${start.problem} />` : null}
      <${Shown} of=${audit} lines=${5}>${(/** @type {any} */ found) => html`<${Result} found=${found} running=${running} />`}<//></div></section>
    ${audit.data && isKnown(audit.data) ? html`<section class="card"><header><h2>${t("books.audit.findings")}</h2><a class="small" href="/admin/review?kind=audit">${t("books.to_queue")}</a></header><${Findings} found=${audit.data} onDone=${audit.reload} /></section>
    <section class="card"><header><h2>${t("books.trial.title")}</h2></header><${TrialBalance} accounts=${audit.data.trial_balance} isBalanced=${!audit.data.violations.some((/** @type {any} */ one) => one.invariant === "books_balance")} /></section>` : null}`;
}

/** The run that is under way, if one is. */
function runningOf(/** @type {any} */ found) {
  if (found?.running) return found.running;
  return found?.run?.state === "running" ? found.run : null;
}

/** Whether there is a result: else the first audit is still under way. */
const isKnown = (/** @type {any} */ found) => !found.run || found.run.state === "finished";

/** @param {{found: any, running: any}} props */
function Result({ found, running }) {
  return html`${running ? html`<${Progress} run=${running} />` : null}
    ${!isKnown(found) ? (running ? null : html`<${Empty} icon="scale" title=${t("books.audit.no_result")} />`) : html`
      <div class="row"><${Tag} kind=${found.ok ? "ok" : "bad"}>${found.ok ? t("books.audit.in_order") : t("books.audit.not_in_order", { count: found.violations.length })}<//>
        <span class="small muted">${found.run ? t("books.audit.at", { when: time(found.run.finished_at) }) : t("books.audit.just_now")}</span></div>
      <p><span class="figure-small">${count(found.entries)}</span> ${t("books.audit.entries", { wallets: count(found.wallets) })}</p>
      <p class="small muted">${t("books.audit.what")}</p>`}`;
}

/** @param {{run: any}} props */
function Progress({ run }) {
  const share = run.entries_expected > 0 ? Math.min(1, run.entries / run.entries_expected) : 0;
  const text = t("books.audit.progress", { entries: count(run.entries), expected: count(run.entries_expected) });
  return html`<div class="stack tight" role="status"><div class="row spread"><span>${t("books.audit.running", { when: time(run.started_at) })}</span><span class="small muted">${text}</span></div>
    <progress class="bar" max="1" value=${share} aria-label=${text}></progress></div>`;
}
