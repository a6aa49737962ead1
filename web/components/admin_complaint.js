// @ts-check
/** One complaint with what was known when it was recorded; and recording one. */

import { post } from "../core/api.js";
import { useAction, useData } from "../core/data.js";
import { count, dateInIndia, phone, shortId, time } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { UserLink } from "./admin_waiting.js";
import { Dialog } from "./dialog.js";
import { Button, Field } from "./field.js";
import { Failed, Shown } from "./states.js";
import { Facts, Table } from "./table.js";
import { say } from "./toast.js";

const SHOWN = 20;

/** A part of the evidence: its rows as a table, or that there are none. @param {{name: string, rows: any[], columns: any[], id: (row: any) => string}} props */
function Part({ name, rows, columns, id }) {
  return html`<section class="stack tight"><h3>${t(`complaints.evidence.${name}`)} <span class="muted small num">${count(rows.length)}</span></h3>
    ${rows.length ? html`<${Table} caption=${t(`complaints.evidence.${name}`)} columns=${columns} rows=${rows.slice(0, SHOWN)} id=${id} />` : html`<p class="small muted">${t("complaints.evidence.none")}</p>`}</section>`;
}

/** @param {{of: any}} props */
function Evidence({ of }) {
  const calls = [
    { title: t("complaints.evidence.call"), show: (/** @type {any} */ row) => html`<a class="mono" href=${`/calls/${row.call_id}`}>${shortId(row.call_id)}</a><span class="sub">${time(row.created_at)}</span>` },
    { title: t("users.state"), show: (/** @type {any} */ row) => named("users.call_states", row.status) },
    { title: t("complaints.evidence.purpose"), show: (/** @type {any} */ row) => html`${named("rules.purposes", row.purpose)}${row.campaign_id ? html`<span class="sub"><a href=${`/campaigns/${row.campaign_id}`}><bdi>${row.campaign_name ?? shortId(row.campaign_id)}</bdi></a></span>` : null}` },
    { title: t("users.user"), isMinor: true, show: (/** @type {any} */ row) => html`<${UserLink} id=${row.user_id} />` },
  ];
  const campaigns = [
    { title: t("users.latest.campaign"), show: (/** @type {any} */ row) => html`<a href=${`/campaigns/${row.campaign_id}`}><bdi>${row.name}</bdi></a>` },
    { title: t("complaints.evidence.row"), isNumber: true, show: (/** @type {any} */ row) => count(row.row) },
    { title: t("complaints.evidence.consent"), show: (/** @type {any} */ row) => html`<bdi>${Object.entries(row.consent ?? {}).map(([name, cell]) => `${name}: ${cell}`).join("; ") || t("complaints.evidence.no_consent")}</bdi>` },
  ];
  const listed = [
    { title: t("complaints.evidence.list"), show: (/** @type {any} */ row) => named("complaints.lists", row.list) },
    { title: t("complaints.source"), show: (/** @type {any} */ row) => html`<bdi>${row.source}</bdi>` },
    { title: t("complaints.evidence.added"), show: (/** @type {any} */ row) => time(row.added_at) },
  ];
  const verdicts = [
    { title: t("complaints.evidence.purpose"), show: (/** @type {any} */ row) => named("rules.purposes", row.purpose) },
    { title: t("complaints.evidence.verdict"), show: (/** @type {any} */ row) => html`${t(row.allowed ? "complaints.evidence.allowed" : "complaints.evidence.refused")}<span class="sub"><bdi>${row.reason ?? ""}</bdi></span>` },
    { title: t("complaints.evidence.checked"), show: (/** @type {any} */ row) => time(row.checked_at) },
  ];
  return html`<div class="stack"><${Part} name="calls" rows=${of.calls ?? []} columns=${calls} id=${(/** @type {any} */ row) => row.call_id} />
    <${Part} name="campaigns" rows=${of.campaigns ?? []} columns=${campaigns} id=${(/** @type {any} */ row) => row.campaign_id} />
    <${Part} name="do_not_call" rows=${of.do_not_call ?? []} columns=${listed} id=${(/** @type {any} */ row) => `${row.list}${row.added_at}`} />
    <${Part} name="scrub_verdicts" rows=${of.scrub_verdicts ?? []} columns=${verdicts} id=${(/** @type {any} */ row) => `${row.purpose}${row.checked_at}`} />
    <details class="small"><summary>${t("complaints.evidence.raw")}</summary><pre class="data">${JSON.stringify(of, null, 2)}</pre></details></div>`;
}

/** @param {{id: string, onClose: () => void}} props */
export function Complaint({ id, onClose }) {
  const of = useData(`/api/complaints/${encodeURIComponent(id)}`);
  return html`<${Dialog} title=${t("complaints.one")} onClose=${onClose} isWide><${Shown} of=${of}>${(/** @type {any} */ found) => html`<div class="stack">
    <${Facts} rows=${[
      [t("complaints.number"), html`<a class="num" href=${`/numbers/${encodeURIComponent(found.number)}`}>${phone(found.number)}</a>`],
      [t("complaints.whose"), found.user_id ? html`<${UserLink} id=${found.user_id} />` : t("complaints.platform")],
      [t("complaints.received"), time(found.received_at)],
      [t("complaints.source"), html`<bdi>${found.source}</bdi>`],
      [t("complaints.text"), found.text ? html`<bdi>${found.text}</bdi>` : "—"],
      [t("complaints.recorded"), html`${time(found.recorded_at)} · <bdi>${found.recorded_by}</bdi>`],
      [t("complaints.standing_then"), t("complaints.in_ten_days", { count: found.complaints_in_ten_days, limit: found.limit })],
    ]} /><p class="small muted">${t("complaints.listed")}</p><${Evidence} of=${found.evidence} /></div>`}<//><//>`;
}

/** @param {{userId?: string | null, onClose: () => void, onDone: (complaint: any) => void}} props */
export function RecordComplaint({ userId, onClose, onDone }) {
  const [number, setNumber] = useState("");
  const [source, setSource] = useState("");
  const [received, setReceived] = useState(dateInIndia());
  const [text, setText] = useState("");
  const [whose, setWhose] = useState(userId ?? "");
  const deed = useAction((key) => post("/api/complaints", {
    number: number.trim(), source: source.trim(), text: text.trim(), ...(received ? { received_at: received } : {}), ...(whose.trim() ? { user_id: whose.trim() } : {}),
  }, key));
  const wrong = deed.problem?.fields ?? {};
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const answer = await deed.run();
    if (!answer) return;
    say(t("complaints.done"));
    onDone(answer);
  };
  return html`<${Dialog} title=${t("complaints.record")} onClose=${onClose}><form class="stack" onSubmit=${send}>
    <${Field} label=${t("complaints.number")} type="tel" value=${number} onInput=${setNumber} error=${wrong["number"]} required autocomplete="off" />
    <${Field} label=${t("complaints.source")} hint=${t("complaints.source_hint")} value=${source} onInput=${setSource} error=${wrong["source"]} required maxlength="100" />
    <${Field} label=${t("complaints.received")} type="date" value=${received} max=${dateInIndia()} onInput=${setReceived} error=${wrong["received_at"]} />
    <${Field} label=${t("complaints.text")} isArea value=${text} onInput=${setText} maxlength="2000" />
    <${Field} label=${t("complaints.whose_field")} hint=${t("complaints.whose_hint")} value=${whose} onInput=${setWhose} error=${wrong["user_id"]} maxlength="100" autocomplete="off" />
    <p class="small muted">${t("complaints.follows")}</p>
    ${deed.problem ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${deed.isBusy} off=${number.trim() && source.trim() ? null : t("complaints.missing")}>${t("complaints.submit")}<//>
      <${Button} kind="quiet" onClick=${onClose}>${t("actions.cancel")}<//></div>
  </form><//>`;
}
