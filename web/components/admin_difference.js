// @ts-check
/** What has changed: before → after, field by field, as words and amounts; equal fields are left out. */

import { shownRupees, time } from "../core/format.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";

/** An object as pairs of a path ('limits.calls_per_day') and a value that is no object. @returns {[string, any][]} */
function flat(/** @type {any} */ value, prefix = "") {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [[prefix, value]];
  return Object.entries(value).flatMap(([name, one]) => flat(one, prefix ? `${prefix}.${name}` : name));
}

/** A value of the audit log as text: amounts in rupees, moments in India, yes and no. */
function shown(/** @type {string} */ name, /** @type {any} */ value) {
  if (value === null || value === undefined || value === "") return t("log.nothing");
  if (typeof value === "boolean") return t(value ? "log.yes" : "log.no");
  if (typeof value === "number" && /_paise(_per_minute)?$/.test(name)) return shownRupees(value / 100);
  if (typeof value === "string" && /^\d{4}-\d{2}-\d{2}T[\d:.]+Z$/.test(value)) return time(value, { seconds: true });
  if (Array.isArray(value)) return value.length ? value.map((one) => (one && typeof one === "object" ? Object.values(one).flat().join(" ") : String(one))).join("; ") : t("log.nothing");
  return String(value);
}

/** The name of a field in words, part by part. */
const nameOf = (/** @type {string} */ path) => path.split(".").map((part) => named("log.fields", part.replace(/_paise(?=_|$)/, ""))).join(" · ");

/** @typedef {{name: string, before: any, after: any, isNew: boolean}} Change */

/** @returns {Change[]} */
export function changesOf(/** @type {any} */ before, /** @type {any} */ after) {
  const old = new Map(flat(before ?? {}));
  const now = new Map(flat(after ?? {}));
  old.delete("");
  now.delete("");
  return [...new Set([...old.keys(), ...now.keys()])]
    .map((name) => ({ name, before: old.get(name), after: now.get(name), isNew: !old.has(name) }))
    .filter((one) => JSON.stringify(one.before) !== JSON.stringify(one.after) && !(one.isNew && (one.after ?? "") === ""));
}

/** @param {{before: any, after: any, most?: number}} props */
export function Difference({ before, after, most = 40 }) {
  const changes = changesOf(before, after);
  if (!changes.length) return html`<span class="muted small">${t("log.no_change")}</span>`;
  return html`<dl class="changes small">${changes.slice(0, most).map((one) => html`<div key=${one.name}><dt>${nameOf(one.name)}</dt><dd>
      ${one.isNew ? null : html`<del><span class="hidden-text">${t("log.was")} </span><bdi>${shown(one.name, one.before)}</bdi></del> <span aria-hidden="true">→</span> `}
      <ins><span class="hidden-text">${t("log.is")} </span><bdi>${shown(one.name, one.after)}</bdi></ins></dd></div>`)}
    ${changes.length > most ? html`<div><dt class="muted">${t("log.more", { count: changes.length - most })}</dt></div>` : null}</dl>`;
}
