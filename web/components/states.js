// @ts-check
/** The states of whatever is read: loading, empty, unknown, not allowed. Unknown is never shown as nothing. */

import { duration } from "../core/format.js";
import { html } from "../core/html.js";
import { t } from "../core/texts.js";
import { Icon } from "./icon.js";

/** Lines that stand where text will be. @param {{lines?: number}} props */
export function Loading({ lines = 4 }) {
  return html`<div class="body stack loading" role="status" aria-label=${t("states.loading")}>
    ${Array.from({ length: lines }, (_, i) => html`<div key=${i} class=${`skeleton w${(i % 3) + 1}`}></div>`)}
  </div>`;
}

/** Nothing is there, and what can be done about it. @param {{icon?: string, title: string, children?: any}} props */
export function Empty({ icon = "list", title, children }) {
  return html`<div class="empty"><${Icon} name=${icon} /><strong>${title}</strong>${children}</div>`;
}

/** What a problem says to a person: what happened, what to do, and the id to ask support with. */
export function explain(/** @type {import("../core/api.js").Problem} */ problem) {
  if (problem.status === 0) return t("problems.unreachable");
  if (problem.status === 429) return t("problems.too_many", { time: duration(problem.retryAfterSeconds ?? 10) });
  if (problem.status >= 500) return t("problems.unavailable");
  const known = t(`problems.${problem.code}`);
  return known === `problems.${problem.code}` ? problem.message || problem.code : known;
}

/** @param {{problem: import("../core/api.js").Problem, retry?: () => void}} props */
export function Failed({ problem, retry }) {
  return html`<div class=${problem.isUnknown ? "notice" : "notice bad"} role="alert">
    <${Icon} name="warn" />
    <div><strong>${explain(problem)}</strong>${problem.requestId && problem.status >= 500 ? html`<span class="sub xs mono">${t("states.request", { id: problem.requestId })}</span>` : null}</div>
    ${retry && problem.status !== 404 && problem.status !== 403 ? html`<button class="btn" type="button" onClick=${retry}>${t("actions.again")}</button>` : null}
  </div>`;
}

/**
 * One of loading, failed, or what `children` makes of the data; with old data a failed read is a notice above it.
 *
 * @param {{of: {data: any, problem: any, isLoading: boolean, reload: () => void}, lines?: number, children: (data: any) => any}} props
 */
export function Shown({ of, lines, children }) {
  if (of.data === undefined) {
    return of.problem ? html`<${Failed} problem=${of.problem} retry=${of.reload} />` : html`<${Loading} lines=${lines} />`;
  }
  return html`${of.problem ? html`<${Failed} problem=${of.problem} retry=${of.reload} />` : null}${children(of.data)}`;
}

/** A word for a state, with its colour. @param {{kind?: string, children: any}} props */
export const Tag = ({ kind = "", children }) => html`<span class=${`tag ${kind}`}>${children}</span>`;
