// @ts-check
/** What the audit found: each finding with the entry it is about, and the ways out of it. */

import { count, shortId } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { refresh } from "../core/live.js";
import { isAdmin } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { Ask } from "./dialog.js";
import { Button } from "./field.js";
import { choicesOfFinding, hrefOf } from "./review_others.js";
import { Empty } from "./states.js";
import { Table } from "./table.js";
import { say } from "./toast.js";

const SHOWN = 100;

/** @param {{found: any, onDone: () => void}} props */
export function Findings({ found, onDone }) {
  const [isAll, setIsAll] = useState(false);
  const rows = isAll ? found.violations : found.violations.slice(0, SHOWN);
  const known = found.acknowledged ?? [];
  const first = found.violations.find((/** @type {any} */ one) => one.seq !== null);
  return html`${found.violations.length === 0 ? html`<${Empty} icon="check" title=${t("books.audit.nothing")} />` : html`
      ${first ? html`<p class="body small">${t("books.audit.first", { entry: count(first.seq) })} <a class="mono xs" href=${`/admin/users/${encodeURIComponent(first.user_id)}`}>${shortId(first.user_id)}</a>: <bdi>${first.detail}</bdi></p>` : null}
      <${List} rows=${rows} onDone=${onDone} canAct=${isAdmin.value} />
      ${rows.length < found.violations.length ? html`<div class="row pages"><${Button} onClick=${() => setIsAll(true)}>${t("books.show_all", { count: count(found.violations.length) })}<//></div>` : null}`}
    ${known.length ? html`<details class="body"><summary>${t("books.audit.acknowledged", { count: count(known.length) })}</summary><${List} rows=${known} onDone=${onDone} canAct=${false} /></details>` : null}`;
}

/** @param {{rows: any[], onDone: () => void, canAct: boolean}} props */
function List({ rows, onDone, canAct }) {
  const columns = [
    { title: t("books.audit.finding"), show: (/** @type {any} */ row) => html`${named("review.invariants", row.invariant)}<span class="sub"><bdi>${row.detail}</bdi></span>` },
    { title: t("review.user"), isMinor: true, show: (/** @type {any} */ row) => row.user_id ? html`<a class="mono xs" href=${`/admin/users/${encodeURIComponent(row.user_id)}`}>${shortId(row.user_id)}</a>` : t("review.audit.everybody") },
    { title: t("review.audit.subject"), isMinor: true, show: (/** @type {any} */ row) => html`<${Subject} id=${row.subject} />` },
    { title: t("review.audit.seq"), isMinor: true, isNumber: true, show: (/** @type {any} */ row) => count(row.seq) },
    ...(canAct ? [{ title: t("books.audit.repairs"), show: (/** @type {any} */ row) => html`<${Repairs} finding=${row} onDone=${onDone} />` }] : []),
  ];
  return html`<${Table} caption=${t("books.audit.findings")} columns=${columns} rows=${rows} id=${(/** @type {any} */ row) => row.finding_id} />`;
}

/** @param {{id: string}} props */
function Subject({ id }) {
  const href = hrefOf(id);
  return html`<span class="mono xs" title=${id}>${href ? html`<a href=${href}>${shortId(id)}</a>` : shortId(id)}</span>`;
}

/** @param {{finding: any, onDone: () => void}} props */
function Repairs({ finding, onDone }) {
  const [chosen, setChosen] = useState(/** @type {any} */ (null));
  const done = () => {
    say(chosen.done);
    setChosen(null);
    refresh();
    onDone();
  };
  return html`<div class="row tight">${choicesOfFinding(finding).map((choice) => html`<${Button} key=${choice.id} kind=${choice.kind ?? ""} onClick=${() => setChosen(choice)}>${choice.label}<//>`)}</div>
    ${chosen ? html`<${Ask} title=${chosen.label} action=${chosen.label} needsReason work=${chosen.work} onDone=${done} onClose=${() => setChosen(null)}>
      <p>${named("review.invariants", finding.invariant)}. <bdi class="muted">${finding.detail}</bdi></p><p class="small">${chosen.says}</p><//>` : null}`;
}
