// @ts-check
/** The options of a new call: what is said, what happens when a machine answers, which keys mean what. */

import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { network } from "./banner.js";
import { Field } from "./field.js";

export const LANGUAGES = ["en-IN", "hi-IN", "bn-IN", "gu-IN", "kn-IN", "ml-IN", "mr-IN", "pa-IN", "ta-IN", "te-IN"];
const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "*", "#"];

/**
 * @typedef {object} Draft what is typed, as text
 * @property {string} to
 * @property {string} kind "message", "audio", "connect", "none"
 * @property {string} message
 * @property {string} audio_url
 * @property {string} connect_to
 * @property {string} language
 * @property {string} voice
 * @property {string} machine
 * @property {string} minutes
 * @property {[string, string][]} keys
 * @property {string} outcome
 * @property {string} talk
 * @property {string} wall
 * @property {string} who
 * @property {string} press
 */

/** @type {Draft} */
export const NEW = { to: "", kind: "message", message: "", audio_url: "", connect_to: "", language: "", voice: "", machine: "", minutes: "", keys: [], outcome: "completed", talk: "30", wall: "10", who: "human", press: "" };

const number = (/** @type {string} */ text) => (/^\d+(\.\d+)?$/.test(text.trim()) ? Number(text.trim()) : null);

/** The body of the request; fields that say nothing are left out. */
export function bodyOf(/** @type {Draft} */ draft) {
  /** @type {Record<string, any>} */
  const body = { to: draft.to.trim() };
  if (draft.kind === "message" && draft.message.trim()) {
    body["message"] = draft.message.trim();
    if (draft.language) body["language"] = draft.language;
    if (draft.voice.trim()) body["voice"] = draft.voice.trim();
  }
  if (draft.kind === "audio") body["audio_url"] = draft.audio_url.trim();
  if (draft.kind === "connect") body["connect_to"] = draft.connect_to.trim();
  if (draft.machine) body["machine_detection"] = draft.machine;
  const minutes = number(draft.minutes);
  if (minutes) body["max_duration_seconds"] = Math.round(minutes * 60);
  const keys = draft.kind === "connect" ? [] : draft.keys.filter(([, meaning]) => meaning.trim());
  if (keys.length) body["keys"] = Object.fromEntries(keys.map(([key, meaning]) => [key, meaning.trim()]));
  if (network === "simulator") {
    body["simulate"] = { outcome: draft.outcome, duration_seconds: Math.round(number(draft.talk) ?? 30), wall_seconds: number(draft.wall) ?? 10, answered_by: draft.who, ...(draft.press ? { press_key: draft.press } : {}) };
  }
  return body;
}

/** Why the call cannot be placed yet; null when it can. */
export function lacks(/** @type {Draft} */ draft, /** @type {boolean} */ hasNumber, /** @type {boolean} */ hasSecond) {
  if (!hasNumber) return t("calls.lacks.number");
  if (draft.kind === "audio" && !/^https?:\/\/\S+$/.test(draft.audio_url.trim())) return t("calls.lacks.audio");
  if (draft.kind === "connect" && !hasSecond) return t("calls.lacks.second");
  if (draft.minutes.trim() && !(number(draft.minutes) ?? 0)) return t("calls.lacks.minutes");
  if (draft.kind !== "connect" && draft.keys.some(([, meaning]) => !/^[a-z][a-z0-9_]{0,39}$/.test(meaning.trim()))) return t("calls.lacks.keys");
  return null;
}

/** @param {{draft: Draft, change: (changes: Partial<Draft>) => void, wrong: Record<string, string>}} props */
export function MessageFields({ draft, change, wrong }) {
  /** @type {[string, string][]} */
  const languages = [["", t("calls.by_script")], ...LANGUAGES.map((one) => /** @type {[string, string]} */ ([one, named("calls.languages", one)]))];
  return html`<${Field} label=${t("calls.message")} isArea value=${draft.message} onInput=${(/** @type {string} */ message) => change({ message })} maxlength="1000" hint=${t("calls.message_hint", { count: 1000 - draft.message.length })} error=${wrong["message"]} dir="auto" />
    <div class="form-grid"><${Field} label=${t("calls.language")} value=${draft.language} options=${languages} onInput=${(/** @type {string} */ language) => change({ language })} error=${wrong["language"]} />
      <${Field} label=${t("calls.voice")} value=${draft.voice} onInput=${(/** @type {string} */ voice) => change({ voice })} hint=${t("calls.voice_hint")} autocomplete="off" maxlength="64" error=${wrong["voice"]} /></div>`;
}

/** Which key means what. @param {{draft: Draft, change: (changes: Partial<Draft>) => void, wrong: Record<string, string>}} props */
export function KeyFields({ draft, change, wrong }) {
  const set = (/** @type {number} */ i, /** @type {[string, string]} */ row) => change({ keys: draft.keys.map((one, at) => (at === i ? row : one)) });
  const free = KEYS.filter((key) => !draft.keys.some(([used]) => used === key));
  return html`<fieldset class="plain-set stack"><legend>${t("calls.keys")}</legend><p class="small muted">${t("calls.keys_hint")}</p>
    ${draft.keys.map(([key, meaning], i) => html`<div key=${i} class="filters">
      <${Field} label=${t("calls.key")} value=${key} options=${KEYS.filter((one) => one === key || free.includes(one)).map((one) => [one, one])} onInput=${(/** @type {string} */ chosen) => set(i, [chosen, meaning])} />
      <${Field} label=${t("calls.key_means")} value=${meaning} onInput=${(/** @type {string} */ text) => set(i, [key, text])} autocomplete="off" maxlength="40" placeholder="confirm" hint=${meaning.trim() === "stop" ? t("calls.key_stop") : undefined} />
      <button class="btn quiet" type="button" onClick=${() => change({ keys: draft.keys.filter((_, at) => at !== i) })}>${t("calls.key_remove", { key })}</button></div>`)}
    ${wrong["keys"] ? html`<span class="error small">${wrong["keys"]}</span>` : null}
    ${free.length ? html`<div class="row"><button class="btn" type="button" onClick=${() => change({ keys: [...draft.keys, [free[0] ?? "1", draft.keys.length ? "" : "confirm"]] })}>${t("calls.key_add")}</button>
      ${draft.keys.some(([, meaning]) => meaning === "stop") ? null : html`<button class="btn quiet" type="button" onClick=${() => change({ keys: [...draft.keys, [free.includes("9") ? "9" : (free[0] ?? "1"), "stop"]] })}>${t("calls.key_add_stop")}</button>`}</div>` : null}
  </fieldset>`;
}

/** What the simulated person does: only where the network is the simulator. @param {{draft: Draft, change: (changes: Partial<Draft>) => void, wrong: Record<string, string>}} props */
export function SimulateFields({ draft, change, wrong }) {
  if (network !== "simulator") return null;
  const choices = (/** @type {string} */ group, /** @type {string[]} */ values) => values.map((one) => /** @type {[string, string]} */ ([one, named(group, one)]));
  const isAnswered = draft.outcome === "completed";
  return html`<fieldset class="plain-set stack"><legend>${t("calls.simulate")}</legend><p class="small muted">${t("calls.simulate_hint")}</p>
    <div class="form-grid">
      <${Field} label=${t("calls.simulate_outcome")} value=${draft.outcome} options=${choices("calls.statuses", ["completed", "busy", "no_answer", "failed"])} onInput=${(/** @type {string} */ outcome) => change({ outcome })} />
      <${Field} label=${t("calls.simulate_wall")} value=${draft.wall} inputmode="decimal" onInput=${(/** @type {string} */ wall) => change({ wall })} hint=${t("calls.simulate_wall_hint")} error=${wrong["simulate.wall_seconds"]} />
      ${isAnswered ? html`<${Field} label=${t("calls.simulate_talk")} value=${draft.talk} inputmode="numeric" onInput=${(/** @type {string} */ talk) => change({ talk })} error=${wrong["simulate.duration_seconds"]} />
        <${Field} label=${t("calls.answered_by")} value=${draft.who} options=${choices("calls.who", ["human", "machine"])} onInput=${(/** @type {string} */ who) => change({ who })} />` : null}
      ${isAnswered && draft.keys.length ? html`<${Field} label=${t("calls.simulate_press")} value=${draft.press} options=${[["", t("calls.none_pressed")], ...draft.keys.map(([key]) => [key, key])]} onInput=${(/** @type {string} */ press) => change({ press })} />` : null}
    </div></fieldset>`;
}
