// @ts-check
/** Why a call was not placed, and what to do about it: each refusal has its way out. */

import { money, paise, time } from "../core/format.js";
import { html } from "../core/html.js";
import { t } from "../core/texts.js";
import { Icon } from "./icon.js";
import { recharge } from "./recharge.js";
import { Failed } from "./states.js";

/** @typedef {import("../core/api.js").Problem} Problem */

/** The sentence of what happened and what ends it; null for what every page says alike. @returns {string | null} */
function inWords(/** @type {Problem} */ problem) {
  const { body } = problem;
  const values = {
    required: money(paise(body.required)),
    available: money(paise(body.available)),
    cap: money(paise(body.cap)),
    resets: time(body.resets_at),
    limit: body.limit,
    seconds: problem.retryAfterSeconds ?? 10,
  };
  const kinds = {
    do_not_call: body.list === "platform" ? "do_not_call_platform" : "do_not_call_own",
    too_many_calls: body.limited_by,
    destination_not_allowed: body.reason,
    invalid_number: "invalid_number",
    spend_cap_reached: body.resets_at ? "spend_cap_reached" : "spend_cap_held",
  };
  const kind = /** @type {Record<string, string>} */ (kinds)[problem.code] ?? problem.code;
  const text = t(`calls.refusals.${kind}`, values);
  return text === `calls.refusals.${kind}` ? null : text;
}

/**
 * A refused call, with the button that mends it where there is one.
 *
 * @param {{problem: Problem, number?: string, retry?: () => void}} props
 */
export function Refusal({ problem, number, retry }) {
  const text = problem.isUnknown && problem.status !== 503 ? null : inWords(problem);
  if (problem.status === 503 || text === null) {
    return html`<${Failed} problem=${problem} retry=${problem.isUnknown ? retry : undefined} />${problem.status === 503 && problem.message ? html`<p class="small muted">${problem.message}</p>` : null}`;
  }
  return html`<div class="notice bad" role="alert"><${Icon} name="warn" />
    <div><strong>${text}</strong>${problem.body.detail ? html`<span class="sub xs">${problem.body.detail}</span>` : null}
    <${Mend} problem=${problem} number=${number} retry=${retry} /></div></div>`;
}

/** @param {{problem: Problem, number?: string, retry?: () => void}} props */
function Mend({ problem, number, retry }) {
  if (problem.code === "insufficient_balance") {
    const shortfall_paise = paise(problem.body.shortfall);
    return html`<button class="btn mend" type="button" onClick=${() => void recharge({ shortfall_paise }).then((isPaid) => { if (isPaid) retry?.(); })}>${t("actions.recharge")}</button>`;
  }
  if (problem.code === "do_not_call" && number) return html`<a class="btn mend" href=${`/numbers/${encodeURIComponent(number)}`}>${t("calls.why_listed")}</a>`;
  if (problem.code === "balance_held") return html`<a class="btn mend" href="/calls?live=true">${t("calls.see_running")}</a>`;
  if (problem.code === "too_many_calls" && problem.body.limited_by === "concurrent_calls") return html`<a class="btn mend" href="/calls?live=true">${t("calls.see_running")}</a>`;
  if (retry && (problem.code === "too_many_calls" || problem.code === "request_in_progress")) return html`<button class="btn mend" type="button" onClick=${retry}>${t("actions.again")}</button>`;
  return null;
}
