// @ts-check
/** What the wizard of a campaign has got until now: kept while one looks at other pages; the file is in memory only. */

import { get, post, request } from "../core/api.js";
import { signal } from "../core/html.js";
import { navigate, query, setQuery } from "../core/router.js";
import { changesOf, emptyPlan, optionsOf, planOf } from "./campaign_plan.js";

export const STEPS = ["list", "check", "message", "when", "review"];

/**
 * @typedef {object} Wizard
 * @property {File | null} file
 * @property {boolean} isPasted the file was made of pasted numbers
 * @property {string | null} column that somebody chose; null: the service chooses
 * @property {any} preview what the service read of the file
 * @property {import("./campaign_plan.js").Plan} plan
 * @property {any} draft the campaign that was made of it, as it is stored
 * @property {string} made of what the draft was made, where a change needs another one
 * @property {any} job that reads a large list
 */

/** @returns {Wizard} */
const empty = () => ({ file: null, isPasted: false, column: null, preview: null, plan: emptyPlan(), draft: null, made: "", job: null });

export const wizard = signal(empty());

/** Change a part of it. */
export const change = (/** @type {Partial<Wizard>} */ changes) => {
  wizard.value = { ...wizard.value, ...changes };
};

/** Change fields of its plan. */
export const plan = (/** @type {Partial<import("./campaign_plan.js").Plan>} */ changes) => change({ plan: { ...wizard.value.plan, ...changes } });

/** Forget all of it and go elsewhere; what was stored as a draft stays in the list of campaigns. */
export function leave(/** @type {string} */ url, { replace = false } = {}) {
  wizard.value = empty();
  navigate(url, { replace });
}

/** Begin anew. */
export const startAnew = () => leave("/campaigns/new");

/** Go to a step. */
export function goTo(/** @type {string} */ step, { replace = false } = {}) {
  setQuery({ step, draft: wizard.value.draft?.campaign_id ?? null }, { replace });
  scrollTo(0, 0);
}

/** The step of the address, or the furthest one that can be shown with what is there. */
export function stepNow() {
  const { file, draft } = wizard.value;
  const asked = query.value.get("step") ?? (draft ? "review" : "list");
  const at = Math.max(0, STEPS.indexOf(asked));
  if (draft) return STEPS[at] ?? "review";
  if (!file) return "list";
  return STEPS[Math.min(at, 3)] ?? "list";
}

/** Take a file; what was chosen for another one is forgotten. */
export function takeFile(/** @type {File} */ file, { isPasted = false } = {}) {
  const name = wizard.value.plan.name || (isPasted ? "" : file.name.replace(/\.[^.]+$/, ""));
  wizard.value = { ...wizard.value, file, isPasted, column: null, preview: null, plan: { ...wizard.value.plan, name: name.slice(0, 200) } };
  goTo("check");
}

/** Numbers that were pasted as a file with one on each line, read like any other. */
export function takePasted(/** @type {string} */ text) {
  const numbers = text.split(/[\n,;\t]+/).map((one) => one.trim()).filter(Boolean);
  takeFile(new File([["phone", ...numbers].join("\n")], "pasted.csv", { type: "text/csv" }), { isPasted: true });
}

/** What the service reads of a file; nothing is stored. */
export async function previewOf(/** @type {File} */ file, /** @type {string | null} */ column, /** @type {AbortSignal} */ signal) {
  const form = new FormData();
  form.set("file", file, file.name);
  if (column) form.set("phone_column", column);
  return request("POST", "/api/campaigns/preview", { form, signal });
}

/** What a draft cannot be changed in: its list and where its calls go. */
function fingerprint() {
  const { file, column, plan: { purpose, kind, connect_to, skip_called_within_days } } = wizard.value;
  const list = file ? [file.name, file.size, file.lastModified, column] : [];
  return JSON.stringify([list, purpose, kind === "connect" ? connect_to.trim() : null, skip_called_within_days.trim()]);
}

function formOf() {
  const { file, column, plan: chosen } = wizard.value;
  const form = new FormData();
  form.set("file", /** @type {File} */ (file), /** @type {File} */ (file).name);
  form.set("start", "false");
  if (column) form.set("phone_column", column);
  if (chosen.skip_called_within_days.trim()) form.set("skip_called_within_days", chosen.skip_called_within_days.trim());
  for (const [name, value] of Object.entries(optionsOf(chosen))) {
    if (value === null || (Array.isArray(value) && !value.length)) continue;
    form.set(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  return form;
}

async function makeDraft(/** @type {string} */ key) {
  const made = fingerprint();
  const answer = await request("POST", "/api/campaigns/upload", { form: formOf(), key });
  const isJob = Boolean(answer.job_id);
  const draft = isJob ? await get(`/api/campaigns/${encodeURIComponent(answer.campaign_id)}`) : answer;
  change({ draft, made, job: isJob ? answer : null });
  setQuery({ draft: draft.campaign_id }, { replace: true });
}

/** Whether the draft that there is has to be made anew for what was chosen since. */
export const needsNewDraft = () => wizard.value.draft !== null && wizard.value.file !== null && wizard.value.made !== fingerprint();

/** Store what was chosen: a draft is made, changed, or, for another list, made anew. */
export async function saveDraft(/** @type {string} */ key) {
  const before = wizard.value.draft;
  if (before && !needsNewDraft()) {
    const changes = changesOf(wizard.value.plan, before);
    if (!Object.keys(changes).length) return;
    change({ draft: await request("PATCH", `/api/campaigns/${encodeURIComponent(before.campaign_id)}`, { body: changes, key }) });
    return;
  }
  await makeDraft(key);
  if (before) await request("DELETE", `/api/campaigns/${encodeURIComponent(before.campaign_id)}`);
}

/** Go on with a draft of the list of campaigns. */
export async function openDraft(/** @type {string} */ campaign_id) {
  const draft = await get(`/api/campaigns/${encodeURIComponent(campaign_id)}`);
  const isReading = draft.import && !["completed", "failed", "canceled"].includes(draft.import.state);
  wizard.value = { ...empty(), draft, plan: planOf(draft), job: isReading ? draft.import : null };
}

/** Start what the draft is. @returns {Promise<any>} the campaign */
export const startDraft = (/** @type {string} */ campaign_id, /** @type {string | undefined} */ key = undefined) =>
  post(`/api/campaigns/${encodeURIComponent(campaign_id)}/resume`, {}, key);
