// @ts-check
/** How much waits for a person, in the rail: asked for now and then; unknown is no number. */

import { html } from "../core/html.js";
import { count } from "../core/format.js";
import { useData } from "../core/data.js";
import { t } from "../core/texts.js";

const EVERY_MS = 60_000;

/** The sum of the counts by kind; null when nothing is known. Where a part is unknown or cut, it is more. */
export function sumOf(/** @type {any} */ found) {
  const known = Object.values(found.counts).filter((one) => one !== null);
  if (!known.length) return null;
  const sum = known.reduce((all, one) => all + one, 0);
  const isMore = known.some((one) => one >= found.counted_max) || Object.values(found.unknown).includes("unavailable");
  return { sum, isMore };
}

export function ReviewCount() {
  const found = useData("/api/admin/review", { limit: 1 }, { every_ms: EVERY_MS });
  const total = found.data && !found.problem ? sumOf(found.data) : null;
  if (!total || total.sum === 0) return null;
  const text = `${count(total.sum)}${total.isMore ? "+" : ""}`;
  return html`<span class="tag bad count" aria-label=${t("review.count_label", { count: text })}>${text}</span>`;
}
