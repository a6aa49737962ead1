// @ts-check
/** The wizard: from a file to a campaign that calls, in five steps; nothing is stored before the last one. */

import { CheckStep } from "../components/campaign_check_step.js";
import { ImportFailed } from "../components/campaign_import.js";
import { ListStep } from "../components/campaign_list_step.js";
import { MessageFields } from "../components/campaign_message.js";
import { stepOf, wrongInMessage, wrongInTimes } from "../components/campaign_plan.js";
import { ReviewStep } from "../components/campaign_review_step.js";
import { withoutColumn } from "../components/campaign_variables.js";
import { PaceFields, PurposeFields, RetryFields, WindowFields } from "../components/campaign_when.js";
import { goTo, needsNewDraft, openDraft, plan as setPlan, saveDraft, startAnew, stepNow, STEPS, wizard } from "../components/campaign_wizard.js";
import { Button } from "../components/field.js";
import { withMoney } from "../components/recharge.js";
import { Page } from "../components/shell.js";
import { Failed, Loading } from "../components/states.js";
import { newKey, Problem } from "../core/api.js";
import { useAction } from "../core/data.js";
import { html, useEffect, useState } from "../core/html.js";
import { query } from "../core/router.js";
import { role } from "../core/session.js";
import { t } from "../core/texts.js";

/** The steps, those that were done as a way back. @param {{now: string}} props */
function Steps({ now }) {
  const at = STEPS.indexOf(now);
  const { file, draft } = wizard.value;
  const canGo = (/** @type {number} */ i) => i !== at && (i < at || (draft !== null && !needsNewDraft())) && (i > 0 || !draft || file !== null);
  return html`<ol class="steps" aria-label=${t("campaigns.steps.label")}>${STEPS.map((step, i) => html`<li key=${step} class=${i < at ? "done" : undefined} aria-current=${i === at ? "step" : undefined}>${canGo(i)
    ? html`<button type="button" class="link" onClick=${() => goTo(step)}>${t(`campaigns.steps.${step}`)}</button>` : t(`campaigns.steps.${step}`)}</li>`)}</ol>`;
}

const firstRows = () => (wizard.value.preview?.rows ?? []).filter((/** @type {any} */ row) => row.to).map((/** @type {any} */ row) => row.cells);
const columns = () => wizard.value.preview?.columns ?? wizard.value.draft?.columns ?? [];

function MessageStep() {
  const { plan, draft, file } = wizard.value;
  const wrong = wrongInMessage(plan);
  const isUnknown = plan.kind === "message" && withoutColumn(plan.message, columns()).length > 0;
  const off = Object.values(wrong)[0] ?? (isUnknown ? t("campaigns.message.mend_variables") : null);
  return html`<section class="card"><header><h2>${t("campaigns.message.title")}</h2></header><div class="body stack">
    <${MessageFields} plan=${plan} set=${setPlan} wrong=${wrong} columns=${columns()} rows=${firstRows()} isFixed=${draft !== null && file === null} />
    <div class="row"><${Button} kind="primary" off=${off} onClick=${() => goTo("when")}>${t("campaigns.message.next")}<//><button type="button" class="btn quiet" onClick=${() => goTo("check")}>${t("actions.back")}</button></div></div></section>`;
}

function WhenStep() {
  const { plan, draft, file } = wizard.value;
  const save = useAction((key) => withMoney((attempt) => saveDraft(attempt ? newKey() : key)));
  const wrong = { ...(save.problem?.fields ?? {}), ...wrongInTimes(plan) };
  const stored = draft !== null && file === null ? draft : undefined;
  const off = Object.values(wrongInTimes(plan)).length ? t("campaigns.when.mend_first") : null;
  const next = async () => {
    if ((await save.run()) !== undefined) goTo("review");
  };
  const all = { plan, set: setPlan, wrong, campaign: stored };
  return html`<div class="stack">
    <section class="card"><header><h2>${t("campaigns.when.title")}</h2></header><div class="body stack"><${PurposeFields} ...${all} /><${WindowFields} ...${all} /></div></section>
    <section class="card"><header><h2>${t("campaigns.when.retries")}</h2></header><div class="body"><${RetryFields} ...${all} /></div></section>
    <section class="card"><header><h2>${t("campaigns.when.pace")}</h2></header><div class="body"><${PaceFields} ...${all} /></div></section>
    ${save.problem ? html`<${SaveFailed} problem=${save.problem} />` : null}
    <div class="row"><${Button} kind="primary" isBusy=${save.isBusy} off=${off} onClick=${next}>${t(draft ? "campaigns.when.save" : "campaigns.when.create")}<//><button type="button" class="btn quiet" onClick=${() => goTo("message")}>${t("actions.back")}</button></div>
    <p class="xs muted">${t("campaigns.when.create_story")}</p></div>`;
}

/** Why it was not stored, and the step where that is mended. @param {{problem: Problem}} props */
function SaveFailed({ problem }) {
  const fields = Object.entries(problem.fields);
  const step = stepOf(fields[0]?.[0] ?? problem.code);
  return html`<div class="stack tight"><${Failed} problem=${problem} />
    ${fields.slice(1).map(([name, message]) => html`<p key=${name} class="small error-text"><span class="mono">${name}</span>: ${message}</p>`)}
    ${step === "when" ? null : html`<div><button type="button" class="btn" onClick=${() => goTo(step)}>${t("campaigns.review.mend", { step: t(`campaigns.steps.${step}`) })}</button></div>`}</div>`;
}

const KINDS = { list: ListStep, check: CheckStep, message: MessageStep, when: WhenStep, review: ReviewStep };

export default function NewCampaignPage() {
  const wanted = query.value.get("draft");
  const { draft, job } = wizard.value;
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const [turn, setTurn] = useState(0);
  const isOther = wanted !== null && draft?.campaign_id !== wanted;
  useEffect(() => {
    if (!isOther) return;
    setProblem(null);
    openDraft(/** @type {string} */ (wanted)).catch((failure) => {
      if (!(failure instanceof Problem)) throw failure;
      setProblem(failure);
    });
  }, [wanted, isOther, turn]);
  const step = stepNow();
  const kind = /** @type {any} */ (KINDS)[step];
  const isFailed = job && (job.state === "failed" || job.state === "canceled");
  const body = role.value === "operator"
    ? html`<p class="notice">${t("campaigns.operator")}</p>`
    : problem ? html`<${Failed} problem=${problem} retry=${() => setTurn(turn + 1)} />`
    : isOther ? html`<${Loading} />`
    : draft && draft.status !== "draft" ? html`<p class="notice">${t("campaigns.review.no_draft")} <a href=${`/campaigns/${encodeURIComponent(draft.campaign_id)}`}>${t("campaigns.review.see")}</a></p>`
    : html`<${Steps} now=${step} />${isFailed ? html`<${ImportFailed} job=${job} />` : null}<${kind} />`;
  const hasBegun = wizard.value.file !== null || draft !== null;
  return html`<${Page} title=${draft ? draft.name : t("campaigns.new")} page=${body}>${hasBegun ? html`<button type="button" class="btn quiet hide-s" onClick=${startAnew}>${t("campaigns.start_anew")}</button>` : null}<//>`;
}
