// @ts-check
/** What a campaign says, when and for how much, as it stands in the fields of a form; and as the API has it. */

import { paise, rupees, typedPaise } from "../core/format.js";
import { t } from "../core/texts.js";

export const WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
export const PURPOSES = ["service", "transactional", "promotional", "collection"];
export const RETRIED = ["busy", "no_answer", "failed", "machine"];
export const MESSAGE_MAX = 1_000;
/** The languages that are offered; any other that a campaign has is kept. */
export const LANGUAGES = ["en-IN", "hi-IN", "bn-IN", "gu-IN", "kn-IN", "ml-IN", "mr-IN", "pa-IN", "ta-IN", "te-IN", "en-US", "en-GB"];

/**
 * @typedef {object} Plan
 * @property {string} name
 * @property {"message" | "audio" | "connect"} kind what is heard
 * @property {string} message
 * @property {string} audio_url
 * @property {string} connect_to
 * @property {string} language empty: by the script of the message
 * @property {string} voice
 * @property {{key: string, meaning: string}[]} keys
 * @property {string} machine_detection
 * @property {string} purpose
 * @property {boolean} has_window
 * @property {string[]} days
 * @property {string} start
 * @property {string} end
 * @property {string} timezone
 * @property {string} max_attempts
 * @property {Record<string, string>} delays minutes, as '15, 30'; empty: not called again
 * @property {string} max_concurrent
 * @property {string} calls_per_minute
 * @property {string} caller_ids
 * @property {string} start_at in IST, as the browser's field has it: '2026-12-01T09:00'
 * @property {string} end_at
 * @property {string} budget
 * @property {string} expected_duration_seconds
 * @property {string} max_duration_seconds
 * @property {string} skip_called_within_days
 */

/** @returns {Plan} */
export const emptyPlan = () => ({
  name: "", kind: "message", message: "", audio_url: "", connect_to: "", language: "", voice: "", keys: [], machine_detection: "",
  purpose: "service", has_window: false, days: WEEKDAYS.slice(0, 6), start: "10:00", end: "18:00", timezone: "Asia/Kolkata",
  max_attempts: "3", delays: { busy: "15, 30", no_answer: "60, 180", failed: "5", machine: "" },
  max_concurrent: "10", calls_per_minute: "", caller_ids: "", start_at: "", end_at: "", budget: "",
  expected_duration_seconds: "", max_duration_seconds: "", skip_called_within_days: "",
});

const text = (/** @type {any} */ value) => (value === null || value === undefined ? "" : String(value));

/** A moment of the API as a field has it, in IST. */
export function fieldOfMoment(/** @type {string | null | undefined} */ iso) {
  if (!iso) return "";
  const parts = new Intl.DateTimeFormat("sv-SE", { timeZone: "Asia/Kolkata", dateStyle: "short", timeStyle: "short" }).format(new Date(iso));
  return parts.replace(" ", "T").slice(0, 16);
}

const momentOfField = (/** @type {string} */ value) => (value ? `${value.slice(0, 16)}:00+05:30` : null);

/** A campaign as a form has it. @returns {Plan} */
export function planOf(/** @type {any} */ campaign) {
  const { window, retry } = campaign;
  const budget_paise = paise(campaign.budget);
  return {
    ...emptyPlan(),
    ...(window ? { has_window: true, days: window.days, start: window.start, end: window.end, timezone: window.timezone } : {}),
    name: campaign.name,
    kind: campaign.connect_to ? "connect" : campaign.audio_url ? "audio" : "message",
    message: text(campaign.message),
    audio_url: text(campaign.audio_url),
    connect_to: text(campaign.connect_to),
    language: text(campaign.language),
    voice: text(campaign.voice),
    keys: Object.entries(campaign.keys ?? {}).map(([key, meaning]) => ({ key, meaning: String(meaning) })),
    machine_detection: text(campaign.machine_detection),
    purpose: campaign.purpose,
    max_attempts: text(retry.max_attempts),
    delays: Object.fromEntries(RETRIED.map((name) => [name, (retry.delays_minutes[name] ?? []).join(", ")])),
    max_concurrent: text(campaign.max_concurrent),
    calls_per_minute: text(campaign.calls_per_minute),
    caller_ids: (campaign.caller_ids ?? []).join(", "),
    start_at: fieldOfMoment(campaign.start_at),
    end_at: fieldOfMoment(campaign.end_at),
    budget: budget_paise === null ? "" : String(rupees(budget_paise)),
    expected_duration_seconds: text(campaign.expected_duration_seconds),
    max_duration_seconds: text(campaign.max_duration_seconds),
  };
}

const parts = (/** @type {string} */ list) => list.split(/[,;\n]+/).map((one) => one.trim()).filter(Boolean);
const whole = (/** @type {string} */ typed) => (typed.trim() ? Number(typed) : null);

/** The options of the API; what is not set is null. */
export function optionsOf(/** @type {Plan} */ plan) {
  const delays = RETRIED.map((name) => /** @type {const} */ ([name, parts(plan.delays[name] ?? "").map(Number)]));
  const isMessage = plan.kind === "message";
  const keys = plan.keys.filter(({ key, meaning }) => key && meaning.trim());
  const budget_paise = typedPaise(plan.budget);
  return {
    name: plan.name.trim(),
    message: isMessage ? plan.message.trim() || null : null,
    audio_url: plan.kind === "audio" ? plan.audio_url.trim() || null : null,
    connect_to: plan.kind === "connect" ? plan.connect_to.trim() || null : null,
    language: isMessage ? plan.language || null : null,
    voice: isMessage ? plan.voice.trim() || null : null,
    keys: plan.kind !== "connect" && keys.length ? Object.fromEntries(keys.map(({ key, meaning }) => [key, meaning.trim()])) : null,
    machine_detection: plan.machine_detection || null,
    purpose: plan.purpose,
    window: plan.has_window ? { days: WEEKDAYS.filter((one) => plan.days.includes(one)), start: plan.start, end: plan.end, timezone: plan.timezone.trim() } : null,
    retry: { max_attempts: whole(plan.max_attempts) ?? 1, delays_minutes: Object.fromEntries(delays.filter(([, minutes]) => minutes.length)) },
    max_concurrent: whole(plan.max_concurrent),
    calls_per_minute: whole(plan.calls_per_minute),
    caller_ids: parts(plan.caller_ids),
    start_at: momentOfField(plan.start_at),
    end_at: momentOfField(plan.end_at),
    budget: budget_paise === null ? null : rupees(budget_paise),
    expected_duration_seconds: whole(plan.expected_duration_seconds),
    max_duration_seconds: whole(plan.max_duration_seconds),
  };
}

const FIXED = new Set(["purpose", "connect_to"]);

/** What a PATCH has to say so that a campaign becomes what the form says; empty when nothing differs. */
export function changesOf(/** @type {Plan} */ plan, /** @type {any} */ campaign) {
  const before = /** @type {Record<string, any>} */ (optionsOf(planOf(campaign)));
  const changed = Object.entries(optionsOf(plan)).filter(([name, value]) => !FIXED.has(name) && JSON.stringify(value) !== JSON.stringify(before[name]));
  if (campaign.started_at) return Object.fromEntries(changed.filter(([name]) => name !== "start_at"));
  return Object.fromEntries(changed);
}

const isCount = (/** @type {string} */ typed, /** @type {number} */ least, /** @type {number} */ most) =>
  /^\d{1,6}$/.test(typed.trim()) && Number(typed) >= least && Number(typed) <= most;

/** What is wrong with the texts in the fields of what is heard, by field. */
export function wrongInMessage(/** @type {Plan} */ plan) {
  /** @type {Record<string, string>} */
  const wrong = {};
  if (plan.kind === "message" && plan.message.length > MESSAGE_MAX) wrong["message"] = t("campaigns.wrong.message_long", { most: MESSAGE_MAX });
  if (plan.kind === "audio" && !/^https?:\/\/\S+\.\S+/.test(plan.audio_url.trim())) wrong["audio_url"] = t("campaigns.wrong.audio_url");
  if (plan.kind === "connect" && plan.connect_to.replace(/\D/g, "").length < 7) wrong["connect_to"] = t("campaigns.wrong.connect_to");
  const given = plan.keys.map(({ key }) => key);
  if (new Set(given).size < given.length) wrong["keys"] = t("campaigns.wrong.keys_twice");
  if (plan.keys.some(({ meaning }) => meaning.trim() && !/^[a-z][a-z0-9_]{0,39}$/.test(meaning.trim()))) wrong["keys"] = t("campaigns.wrong.key_meaning");
  if (plan.max_duration_seconds.trim() && !isCount(plan.max_duration_seconds, 1, 86_400)) wrong["max_duration_seconds"] = t("campaigns.wrong.whole", { least: 1, most: 86_400 });
  return wrong;
}

/** The same for when, how often and for how much. */
export function wrongInTimes(/** @type {Plan} */ plan) {
  /** @type {Record<string, string>} */
  const wrong = {};
  if (!plan.name.trim()) wrong["name"] = t("campaigns.wrong.name");
  if (plan.has_window && !plan.days.length) wrong["days"] = t("campaigns.wrong.days");
  if (plan.has_window && plan.start >= plan.end) wrong["end"] = t("campaigns.wrong.window_end");
  /** @type {[keyof Plan & string, number, number, boolean][]} */
  const counts = [["max_attempts", 1, 10, true], ["max_concurrent", 1, 1_000, true], ["calls_per_minute", 1, 10_000, false], ["expected_duration_seconds", 1, 86_400, false], ["skip_called_within_days", 1, 90, false]];
  for (const [name, least, most, isNeeded] of counts) {
    const typed = String(plan[name]).trim();
    if ((isNeeded || typed) && !isCount(typed, least, most)) wrong[name] = t("campaigns.wrong.whole", { least, most });
  }
  for (const name of RETRIED) {
    if (!parts(plan.delays[name] ?? "").every((one) => isCount(one, 0, 10_080))) wrong[`delays.${name}`] = t("campaigns.wrong.delays");
  }
  if (plan.budget.trim() && typedPaise(plan.budget) === null) wrong["budget"] = t("campaigns.wrong.budget");
  if (plan.start_at && plan.end_at && plan.end_at <= plan.start_at) wrong["end_at"] = t("campaigns.wrong.end_at");
  return wrong;
}

/** Which step mends a field, or a problem that was found in a draft. */
export function stepOf(/** @type {string} */ name) {
  const head = name.split(".")[0] ?? "";
  if (["message", "audio_url", "connect_to", "language", "voice", "keys", "machine_detection", "max_duration_seconds", "missing_variable", "language_not_supported", "not_supported_by_network"].includes(head)) return "message";
  if (["file", "numbers", "phone_column_not_found", "no_usable_row", "empty_list", "destination_not_rated", "unreadable_file", "file_too_large", "too_many_rows"].includes(head) || head.startsWith("rejected_")) return "check";
  return "when";
}
