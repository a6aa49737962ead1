// @ts-check
/** A large list that a job reads: how far it is, and how to stop it. */

import { get, post, Problem } from "../core/api.js";
import { useAction } from "../core/data.js";
import { count } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { change, goTo, leave, wizard } from "./campaign_wizard.js";
import { Button } from "./field.js";
import { explain, Failed } from "./states.js";

const POLL_MS = 1_000;
const isOver = (/** @type {any} */ job) => ["completed", "failed", "canceled"].includes(job.state);

/** The job as it is now. */
export function useImport(/** @type {any} */ first, /** @type {(job: any) => void} */ onDone) {
  const [job, setJob] = useState(first);
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  useEffect(() => {
    let timer = 0;
    let isGone = false;
    const look = async () => {
      try {
        const found = await get(`/api/campaigns/imports/${encodeURIComponent(first.job_id)}`);
        if (isGone) return;
        setJob(found);
        setProblem(null);
        if (isOver(found)) return void onDone(found);
      } catch (failure) {
        if (!(failure instanceof Problem)) throw failure;
        if (!isGone) setProblem(failure);
      }
      if (!isGone) timer = setTimeout(look, POLL_MS);
    };
    void look();
    return () => {
      isGone = true;
      clearTimeout(timer);
    };
  }, [first.job_id]);
  return { job, problem };
}

/** How far a job is. @param {{job: any}} props */
export function ImportProgress({ job }) {
  const total = job.rows_total;
  return html`<div class="stack tight" aria-live="polite">
    <div class="row spread"><strong>${named("campaigns.imports", job.state)}</strong><span class="small muted">${total === null ? t("campaigns.import.counting", { count: count(job.rows_done) }) : t("campaigns.import.rows", { done: count(job.rows_done), total: count(total) })}</span></div>
    ${total === null || job.state === "finishing" ? html`<progress class="bar" aria-label=${t("campaigns.import.progress")}></progress>` : html`<progress class="bar" max=${total} value=${job.rows_done} aria-label=${t("campaigns.import.progress")}></progress>`}
    <p class="small muted">${t("campaigns.import.until_now", { usable: count(job.usable), refused: count(job.rejected_count) })}</p></div>`;
}

/** In the wizard. @param {{job: any}} props */
export function CampaignImport({ job: first }) {
  const done = async (/** @type {any} */ over) => {
    if (over.state !== "completed") {
      change({ job: over, draft: null, made: "" });
      return goTo(wizard.value.file ? "check" : "list", { replace: true });
    }
    change({ draft: await get(`/api/campaigns/${encodeURIComponent(over.campaign_id)}`), job: null });
  };
  const { job, problem } = useImport(first, done);
  const stop = useAction((key) => post(`/api/campaigns/imports/${encodeURIComponent(job.job_id)}/cancel`, {}, key));
  const cancel = async () => {
    if ((await stop.run()) === undefined) return;
    const hasFile = wizard.value.file !== null;
    change({ draft: null, made: "", job: null });
    if (hasFile) goTo("check");
    else leave("/campaigns");
  };
  return html`<section class="card"><header><h2>${t("campaigns.import.title")}</h2></header><div class="body stack">
    <${ImportProgress} job=${job} />
    <p class="small muted">${t("campaigns.import.story")}</p>
    ${problem ? html`<${Failed} problem=${problem} />` : null}${stop.problem ? html`<${Failed} problem=${stop.problem} />` : null}
    <div class="row"><${Button} isBusy=${stop.isBusy} onClick=${cancel}>${t("campaigns.import.cancel")}<//></div></div></section>`;
}

/** A job that did not come to its end. @param {{job: any}} props */
export function ImportFailed({ job }) {
  const problem = job.error ? new Problem(job.error.status ?? 422, job.error) : null;
  return html`<div class="notice bad" role="alert"><div><strong>${named("campaigns.imports", job.state)}</strong>${problem ? html`<span class="sub">${explain(problem)}</span>` : null}</div>
    <button type="button" class="btn" onClick=${() => { change({ job: null }); goTo("check"); }}>${t("campaigns.import.again")}</button></div>`;
}
