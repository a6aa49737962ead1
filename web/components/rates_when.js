// @ts-check
/** From when on a card holds: now, or a moment in India. */

import { time } from "../core/format.js";
import { html } from "../core/html.js";
import { t } from "../core/texts.js";
import { Field } from "./field.js";

/** What was chosen ('2026-12-01T09:00', in India) as a moment of the API; null: nothing, or no moment ahead. */
export function dateOf(/** @type {string} */ text) {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d$/.test(text)) return null;
  const iso = `${text}:00+05:30`;
  const moment = Date.parse(iso);
  if (Number.isNaN(moment) || moment < Date.now() || moment > Date.now() + 366 * 86_400_000) return null;
  return { iso, shown: time(iso) };
}

/** @param {{value: string, onInput: (text: string) => void}} props */
export function When({ value, onInput }) {
  const error = value && !dateOf(value) ? t("rates.when_wrong") : null;
  return html`<${Field} label=${t("rates.when")} type="datetime-local" value=${value} onInput=${onInput} hint=${t("rates.when_hint")} error=${error} />`;
}
