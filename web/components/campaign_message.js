// @ts-check
/** What is heard in a campaign: a message with variables, a recording, or another number; keys and machines. */

import { count } from "../core/format.js";
import { html, useRef } from "../core/html.js";
import { language as shownLanguage, named, t } from "../core/texts.js";
import { LANGUAGES, MESSAGE_MAX } from "./campaign_plan.js";
import { blanksIn, rendered, variablesOf, withoutColumn } from "./campaign_variables.js";
import { Chips, Field } from "./field.js";

/** @typedef {import("./campaign_plan.js").Plan} Plan */

const languageName = (/** @type {string} */ tag) => {
  try {
    return new Intl.DisplayNames([shownLanguage.value], { type: "language", languageDisplay: "standard" }).of(tag) ?? tag;
  } catch {
    return tag;
  }
};

/**
 * @param {{plan: Plan, set: (changes: Partial<Plan>) => void, wrong: Record<string, string>, columns: string[],
 *   rows?: string[][], isFixed?: boolean}} props
 *   `rows`: the cells of the first contacts; `isFixed`: where a call is connected to cannot be changed any more
 */
export function MessageFields({ plan, set, wrong, columns, rows = [], isFixed = false }) {
  const kinds = /** @type {[string, any][]} */ (["message", "audio", "connect"].map((kind) => [kind, t(`campaigns.message.kinds.${kind}`)]));
  const offered = isFixed ? kinds.filter(([kind]) => (plan.kind === "connect") === (kind === "connect")) : kinds;
  return html`<div class="stack">
    <${Chips} label=${t("campaigns.message.kind")} value=${plan.kind} options=${offered} onChoose=${(/** @type {any} */ kind) => set({ kind })} />
    ${plan.kind === "message" ? html`<${Spoken} plan=${plan} set=${set} wrong=${wrong} columns=${columns} rows=${rows} />` : null}
    ${plan.kind === "audio" ? html`<${Field} label=${t("campaigns.message.audio_url")} hint=${t("campaigns.message.audio_hint")} type="url" value=${plan.audio_url} onInput=${(/** @type {string} */ audio_url) => set({ audio_url })} error=${plan.audio_url && wrong["audio_url"]} placeholder="https://…" />` : null}
    ${plan.kind === "connect" ? html`<${Field} label=${t("campaigns.message.connect_to")} hint=${t("campaigns.message.connect_hint")} type="tel" value=${plan.connect_to} disabled=${isFixed} onInput=${(/** @type {string} */ connect_to) => set({ connect_to })} error=${plan.connect_to && wrong["connect_to"]} />` : null}
    ${plan.kind === "connect" ? null : html`<${Keys} plan=${plan} set=${set} wrong=${wrong} />`}
    <div class="form-grid">
      <${Field} label=${t("campaigns.message.machine")} hint=${t("campaigns.message.machine_hint")} value=${plan.machine_detection} onInput=${(/** @type {string} */ machine_detection) => set({ machine_detection })}
        options=${["", "report", "hang_up"].map((one) => [one, t(`campaigns.message.machines.${one || "none"}`)])} />
      <${Field} label=${t("campaigns.message.max_duration")} hint=${t("campaigns.message.max_duration_hint")} inputmode="numeric" value=${plan.max_duration_seconds} onInput=${(/** @type {string} */ max_duration_seconds) => set({ max_duration_seconds })} error=${wrong["max_duration_seconds"]} />
    </div>
  </div>`;
}

/** @param {{plan: Plan, set: (changes: Partial<Plan>) => void, wrong: Record<string, string>, columns: string[], rows: string[][]}} props */
function Spoken({ plan, set, wrong, columns, rows }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const insert = (/** @type {string} */ column) => {
    const area = box.current?.querySelector("textarea");
    const from = area?.selectionStart ?? plan.message.length;
    const piece = `{{${column}}}`;
    set({ message: plan.message.slice(0, from) + piece + plan.message.slice(area?.selectionEnd ?? from) });
    requestAnimationFrame(() => {
      area?.focus();
      area?.setSelectionRange(from + piece.length, from + piece.length);
    });
  };
  const named_columns = columns.filter(Boolean);
  const unknown = withoutColumn(plan.message, columns);
  const blanks = unknown.length ? [] : blanksIn(plan.message, columns, rows);
  const languages = plan.language && !LANGUAGES.includes(plan.language) ? [...LANGUAGES, plan.language] : LANGUAGES;
  return html`<div class="stack" ref=${box}>
    <${Field} isArea label=${t("campaigns.message.text")} rows="5" value=${plan.message} onInput=${(/** @type {string} */ message) => set({ message })} dir="auto"
      hint=${t("campaigns.message.length", { count: count(plan.message.length), most: count(MESSAGE_MAX) })} error=${wrong["message"] ?? (unknown.length ? t("campaigns.message.no_column", { name: unknown.join(", ") }) : null)} />
    ${named_columns.length ? html`<div class="stack tight"><span class="small muted">${t("campaigns.message.insert")}</span><div class="chips">${named_columns.map((column, i) => html`<button key=${i} type="button" class="chip mono small" onClick=${() => insert(column)}>{{<bdi>${column}</bdi>}}</button>`)}</div></div>` : null}
    ${blanks.map((one) => html`<p key=${one.name} class="notice small">${t("campaigns.message.blank", { name: one.name, count: count(one.count), rows: count(rows.length) })}</p>`)}
    ${plan.message.trim() ? html`<${Heard} message=${plan.message} columns=${columns} cells=${rows[0]} />` : html`<p class="small muted">${t("campaigns.message.silent")}</p>`}
    <div class="form-grid">
      <${Field} label=${t("campaigns.message.language")} hint=${t("campaigns.message.language_hint")} value=${plan.language} onInput=${(/** @type {string} */ language) => set({ language })}
        options=${[["", t("campaigns.message.by_script")], ...languages.map((tag) => [tag, languageName(tag)])]} error=${wrong["language"]} />
      <${Field} label=${t("campaigns.message.voice")} hint=${t("campaigns.message.voice_hint")} value=${plan.voice} onInput=${(/** @type {string} */ voice) => set({ voice })} error=${wrong["voice"]} placeholder="Polly.Aditi" />
    </div></div>`;
}

/** What the first contact hears. @param {{message: string, columns: string[], cells: string[] | undefined}} props */
function Heard({ message, columns, cells }) {
  if (!cells) return variablesOf(message).length ? html`<p class="small muted">${t("campaigns.message.filled_later")}</p>` : null;
  return html`<figure class="heard"><figcaption class="small muted">${t("campaigns.message.first_hears")}</figcaption>
    <blockquote dir="auto">${rendered(message, columns, cells).map((piece, i) => piece.name === undefined
      ? piece.text
      : piece.text === null ? html`<span key=${i} class="tag bad">${t("campaigns.message.nothing_for", { name: piece.name })}</span>` : html`<mark key=${i}><bdi>${piece.text}</bdi></mark>`)}</blockquote></figure>`;
}

/** Keys that somebody may press. @param {{plan: Plan, set: (changes: Partial<Plan>) => void, wrong: Record<string, string>}} props */
function Keys({ plan, set, wrong }) {
  const free = [..."123456789*0#"].find((key) => !plan.keys.some((one) => one.key === key));
  const put = (/** @type {number} */ at, /** @type {Partial<{key: string, meaning: string}>} */ changes) => set({ keys: plan.keys.map((one, i) => (i === at ? { ...one, ...changes } : one)) });
  return html`<fieldset class="stack tight"><legend class="small strong">${t("campaigns.message.keys")}</legend>
    <p class="xs muted">${t("campaigns.message.keys_hint")}</p>
    ${plan.keys.map((one, i) => html`<div key=${i} class="row key-row">
      <select class="input" aria-label=${t("campaigns.message.key")} onChange=${(/** @type {any} */ event) => put(i, { key: event.currentTarget.value })}>${[..."123456789*0#"].map((key) => html`<option key=${key} value=${key} selected=${key === one.key}>${key}</option>`)}</select>
      <input class="input" aria-label=${t("campaigns.message.meaning")} list="key-meanings" value=${one.meaning} placeholder="confirm" onInput=${(/** @type {any} */ event) => put(i, { meaning: event.currentTarget.value })} />
      <button type="button" class="btn quiet" onClick=${() => set({ keys: plan.keys.filter((_, at) => at !== i) })}>${t("campaigns.message.remove_key", { key: one.key })}</button></div>`)}
    <datalist id="key-meanings">${["confirm", "call_back", "paid", "not_interested", "stop"].map((one) => html`<option key=${one} value=${one}>${named("campaigns.message.meanings", one)}</option>`)}</datalist>
    ${wrong["keys"] ? html`<span class="error xs" role="alert">${wrong["keys"]}</span>` : null}
    ${free && plan.keys.length < 12 ? html`<div><button type="button" class="btn" onClick=${() => set({ keys: [...plan.keys, { key: free, meaning: plan.keys.length ? "stop" : "confirm" }] })}>${t("campaigns.message.add_key")}</button></div>` : null}
  </fieldset>`;
}
