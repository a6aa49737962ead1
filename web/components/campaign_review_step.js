// @ts-check
/** The wizard's last step: the draft as it is stored, what keeps it from calling, what it costs, and the start. */

import { newKey, Problem, request } from "../core/api.js";
import { useAction } from "../core/data.js";
import { count, money, paise, time } from "../core/format.js";
import { html, useEffect, useState } from "../core/html.js";
import { balance } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { CampaignEstimate } from "./campaign_estimate.js";
import { CampaignImport } from "./campaign_import.js";
import { CampaignSummary } from "./campaign_summary.js";
import { stepOf } from "./campaign_plan.js";
import { goTo, leave, startDraft, wizard } from "./campaign_wizard.js";
import { Ask } from "./dialog.js";
import { Button } from "./field.js";
import { recharge, withMoney } from "./recharge.js";
import { Failed, Loading, Tag } from "./states.js";
import { say } from "./toast.js";

const ISO = /\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)/g;
const MONEY = new Set(["insufficient_balance", "money_for_a_part", "balance_held"]);

/** A sentence of the service, with moments as they are shown everywhere. */
const said = (/** @type {string} */ message) => message.replace(ISO, (iso) => time(iso));

/** A thing that was found, with the step that mends it. @param {{one: any}} props */
function Finding({ one }) {
  const key = `campaigns.findings.${one.code}`;
  const known = t(key, { count: count(one.count) });
  const step = stepOf(one.code);
  return html`<li class="row"><${Tag} kind=${one.severity === "error" ? "bad" : "warn"}>${t(one.severity === "error" ? "campaigns.review.error" : "campaigns.review.warning")}<//>
    <div class="grow"><span>${known === key ? said(one.message) : known}</span>${known === key ? null : html`<span class="sub xs muted">${said(one.message)}</span>`}</div>
    ${MONEY.has(one.code) ? null : html`<button type="button" class="btn" onClick=${() => goTo(step)}>${t("campaigns.review.mend", { step: t(`campaigns.steps.${step}`) })}</button>`}</li>`;
}

/** What was found: what stops it first, and the refused rows together. @param {{problems: any[], refused: string}} props */
export function Findings({ problems, refused }) {
  if (!problems.length) return html`<p class="notice ok">${t("campaigns.review.fine")}</p>`;
  const rows = problems.filter((one) => one.code.startsWith("rejected_"));
  const others = problems.filter((one) => !one.code.startsWith("rejected_")).sort((a, b) => Number(b.severity === "error") - Number(a.severity === "error"));
  const total = rows.reduce((sum, one) => sum + (one.count ?? 0), 0);
  return html`<ul class="plain findings">${others.map((one) => html`<${Finding} key=${one.code} one=${one} />`)}
    ${rows.length ? html`<li key="rows" class="row"><${Tag}>${t("campaigns.review.warning")}<//><div class="grow"><span>${t("campaigns.findings.rows", { count: count(total) })}</span>
      <span class="sub xs muted">${rows.map((one) => `${named("campaigns.refusals", one.code.slice("rejected_".length))} ${count(one.count)}`).join(" · ")}</span></div><a class="btn" href=${refused} download>${t("campaigns.refused_csv")}</a></li>` : null}</ul>`;
}

export function ReviewStep() {
  const { draft, job } = wizard.value;
  if (!draft) return html`<${Loading} />`;
  if (job && job.state !== "completed") return html`<${CampaignImport} job=${job} />`;
  return html`<${Review} draft=${draft} />`;
}

/** @param {{draft: any}} props */
function Review({ draft }) {
  const path = `/api/campaigns/${encodeURIComponent(draft.campaign_id)}`;
  const [seconds, setSeconds] = useState(/** @type {number | null} */ (null));
  const checked = useCheck(path, seconds, JSON.stringify(draft));
  const [asks, setAsks] = useState(false);
  const start = useAction((key) => withMoney((attempt) => startDraft(draft.campaign_id, attempt ? newKey() : key)));
  const found = checked.data;
  const left = found?.estimate.contacts ?? draft.counts?.total;
  const isLater = draft.start_at && new Date(draft.start_at) > new Date();
  const go = async () => {
    const started = await start.run();
    if (!started) return;
    say(t(started.status === "scheduled" ? "campaigns.review.scheduled" : "campaigns.review.started", { name: started.name }));
    leave(`/campaigns/${encodeURIComponent(draft.campaign_id)}`, { replace: true });
  };
  const blocking = (found?.problems ?? []).filter((/** @type {any} */ one) => one.severity === "error" && one.code !== "insufficient_balance");
  const off = !found ? t("campaigns.review.checking") : blocking.length ? t("campaigns.review.mend_first") : null;
  const recharge_paise = paise(found?.estimate.recharge);
  return html`<div class="grid g2 wide-left"><div class="stack">
      <section class="card"><header><h2>${t("campaigns.review.check")}</h2></header><div class="body stack">
        ${checked.problem ? html`<${Failed} problem=${checked.problem} retry=${checked.reload} />` : found ? html`<${Findings} problems=${found.problems} refused=${`${path}/rejected?excel=true`} />` : html`<${Loading} lines=${2} />`}</div></section>
      <section class="card"><header><h2>${t("campaigns.review.summary")}</h2></header><div class="body"><${CampaignSummary} campaign=${draft} mend=${goTo} isStored=${wizard.value.file === null} /></div></section></div>
    <section class="card"><header><h2>${t("campaigns.review.cost")}</h2></header><div class="body stack">
      ${found ? html`<${CampaignEstimate} estimate=${found.estimate} seconds=${seconds} onSeconds=${setSeconds} />` : html`<${Loading} lines=${4} />`}
      ${recharge_paise ? html`<div><button type="button" class="btn" onClick=${() => void recharge({ shortfall_paise: recharge_paise }).then((isPaid) => isPaid && checked.reload())}>${t("campaigns.review.recharge", { amount: money(recharge_paise) })}</button></div>` : null}
      ${start.problem ? html`<${Failed} problem=${start.problem} />` : null}
      <div class="stack tight"><${Button} kind="primary" isBusy=${start.isBusy} off=${off} onClick=${go}>${isLater ? t("campaigns.review.schedule", { time: time(draft.start_at) }) : t("campaigns.review.start", { count: count(left) })}<//>
        <p class="xs muted">${isLater ? t("campaigns.review.schedule_story") : t("campaigns.review.start_story")}</p></div>
      <hr class="line" />
      <div class="row"><button type="button" class="btn" onClick=${() => leave(`/campaigns/${encodeURIComponent(draft.campaign_id)}`)}>${t("campaigns.review.keep")}</button>
        <button type="button" class="btn quiet danger" onClick=${() => setAsks(true)}>${t("campaigns.review.discard")}</button></div>
      ${asks ? html`<${Ask} title=${t("campaigns.review.discard")} action=${t("campaigns.review.discard_now")} kind="danger" onClose=${() => setAsks(false)} work=${() => request("DELETE", path)}
        onDone=${() => leave("/campaigns")}><p>${t("campaigns.review.discard_story")}</p><//>` : null}
    </div></section></div>`;
}

/** What validation says, for calls of so many seconds; said anew after a change of the draft, and after a recharge. */
function useCheck(/** @type {string} */ path, /** @type {number | null} */ seconds, /** @type {string} */ version) {
  const [state, setState] = useState(/** @type {{data: any, problem: Problem | null}} */ ({ data: undefined, problem: null }));
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    request("POST", `${path}/validate`, { body: seconds ? { duration_seconds: seconds } : {}, signal: stop.signal }).then(
      (data) => !stop.signal.aborted && setState({ data, problem: null }),
      (problem) => {
        if (stop.signal.aborted) return;
        if (!(problem instanceof Problem)) throw problem;
        setState((before) => ({ ...before, problem }));
      },
    );
    return () => stop.abort();
  }, [path, seconds, version, turn, balance.value?.available_paise]);
  return { ...state, reload: () => setTurn(turn + 1) };
}
