// @ts-check
/** What waits about webhooks, findings, adjustments and complaints. */

import { post, Problem } from "../core/api.js";
import { useData } from "../core/data.js";
import { count, money, paise, phone, time } from "../core/format.js";
import { html } from "../core/html.js";
import { me } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { Decide } from "./review_decide.js";
import { Ids, Parts, UserLink } from "./review_evidence.js";
import { Shown } from "./states.js";
import { Facts, Table } from "./table.js";

/** JSON as one reads it; what is none, as it is. */
export function readable(/** @type {string} */ body) {
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}

/** @param {{item: any, onDone: () => void}} props */
export function WebhookDecision({ item, onDone }) {
  const path = `/api/admin/webhooks/${encodeURIComponent(item.id)}`;
  const found = useData(path);
  const choices = [{ id: "replay", label: t("review.webhook.replay"), says: t("review.webhook.replay_says"), done: t("review.webhook.replay_done"), work: () => post(`${path}/replay`) }];
  return html`<p class="small"><bdi>${item.detail}</bdi></p>
    <${Shown} of=${found} lines=${5}>${(/** @type {any} */ hook) => html`
      <${Facts} rows=${[[t("review.webhook.event"), html`<span class="mono">${hook.event}</span>`], [t("review.webhook.received"), time(hook.received_at, { seconds: true })], [t("review.webhook.attempts"), count(hook.attempts)], [t("review.webhook.theirs"), html`<${Ids} id=${hook.razorpay_event_id} />`], [t("review.webhook.ours"), html`<${Ids} id=${hook.webhook_id} />`]]} />
      <h3>${t("review.webhook.body")}</h3><pre class="data" tabindex="0">${readable(hook.body)}</pre>`}<//>
    <${Decide} choices=${choices} onDone=${onDone} needsReason=${false} />`;
}

/** What an admin can do about a finding of the audit; also on the page of the audit. */
export function choicesOfFinding(/** @type {{finding_id: string, subject: string, user_id: string | null, repairs: string[]}} */ finding) {
  return finding.repairs.map((action) => ({
    id: action,
    label: t(`review.audit.${action}`),
    says: t(`review.audit.${action}_says`, { subject: finding.subject }),
    done: t(`review.audit.${action}_done`),
    kind: action === "acknowledge" && finding.repairs.length > 1 ? "quiet" : undefined,
    work: (/** @type {string} */ key, /** @type {string} */ reason) =>
      post("/api/admin/audit/repairs", { action, subject: action === "acknowledge" ? finding.finding_id : finding.subject, reason, ...(finding.user_id ? { user_id: finding.user_id } : {}) }, key),
  }));
}

/** @param {{item: any, onDone: () => void}} props */
export function FindingDecision({ item, onDone }) {
  const finding = { finding_id: item.id, subject: item.facts.subject, user_id: item.user_id, repairs: item.decisions };
  return html`<p class="small"><bdi>${item.detail}</bdi></p>
    <${Facts} rows=${[[t("review.user"), item.user_id ? html`<${UserLink} item=${item} />` : t("review.audit.everybody")], [t("review.audit.subject"), html`<${Ids} id=${item.facts.subject} href=${hrefOf(item.facts.subject)} />`], [t("review.audit.seq"), count(item.facts.seq)], [t("review.audit.rule"), html`<span class="mono xs">${item.reason}</span>`], [t("review.audit.found"), time(item.since)]]} />
    <p class="small"><a href="/admin/books">${t("review.audit.to_audit")}</a></p>
    <${Decide} choices=${choicesOfFinding(finding)} onDone=${onDone} />`;
}

/** The page of what a subject names, by the kind of its id. */
export function hrefOf(/** @type {string | null | undefined} */ id) {
  if (!id) return undefined;
  const escaped = encodeURIComponent(id);
  if (/^call_/.test(id)) return `/calls/${escaped}`;
  if (/^txn_/.test(id)) return `/transactions/${escaped}`;
  if (/^order_/.test(id)) return `/payments/${escaped}`;
  return /^usr_/.test(id) ? `/admin/users/${escaped}` : undefined;
}

/** @param {{item: any, onDone: () => void}} props */
export function DifferenceDecision({ item, onDone }) {
  const compare = async () => {
    try {
      return await post("/api/admin/reconciliation/run", { older_than_minutes: 15 });
    } catch (problem) {
      if (problem instanceof Problem && problem.status === 409) return null; // it goes on by itself
      throw problem;
    }
  };
  const choices = [{ id: "run", label: t("review.reconciliation.run"), says: t("review.reconciliation.run_says"), done: t("review.reconciliation.run_done"), work: compare }];
  const facts = Object.entries(item.facts).filter(([name, value]) => value && name !== "user_id").map(([name, value]) => [named("review.reconciliation.facts", name), html`<${Ids} id=${String(value)} href=${hrefOf(String(value))} />`]);
  return html`<p class="small">${t(`review.reconciliation.why.${item.reason}`)} ${item.detail ? html`<bdi class="muted">${item.detail.replaceAll("_", " ")}</bdi>` : null}</p>
    <${Facts} rows=${[...(item.user_id ? [[t("review.user"), html`<${UserLink} item=${item} />`]] : []), ...facts, [t("review.audit.found"), time(item.since)]]} />
    <p class="small"><a href="/admin/books?part=reconciliation">${t("review.reconciliation.to_report")}</a></p>
    <${Decide} choices=${choices} onDone=${onDone} needsReason=${false} />`;
}

/** @param {{item: any, onDone: () => void}} props */
export function AdjustmentDecision({ item, onDone }) {
  const path = `/api/admin/adjustments/${encodeURIComponent(item.id)}`;
  const amount = money(paise(item.amount));
  const name = item.user_name ?? item.user_id;
  const isMine = item.facts.by === me.value?.id;
  const isOwn = item.user_id === me.value?.id;
  const off = isMine ? t("review.adjustment.mine") : isOwn ? t("review.adjustment.own") : null;
  const choices = [
    { id: "confirm", label: t(`review.adjustment.${item.reason}`, { amount }), says: t(`review.adjustment.${item.reason}_says`, { amount, name }), done: t("review.adjustment.confirm_done"), off, work: () => post(`${path}/confirm`) },
    { id: "reject", label: t("review.adjustment.reject"), says: t("review.adjustment.reject_says"), done: t("review.adjustment.reject_done"), kind: "danger", off, work: () => post(`${path}/reject`) },
  ];
  return html`<${Parts} rows=${[[`review.adjustment.${item.reason}_part`, amount]]} />
    <${Facts} rows=${[[t("review.user"), html`<${UserLink} item=${item} />`], [t("review.adjustment.reason"), html`<bdi>${item.detail}</bdi>`], [t("review.adjustment.by"), html`<a class="mono xs" href=${`/admin/users/${encodeURIComponent(item.facts.by)}`}>${isMine ? t("review.adjustment.you") : item.facts.by}</a>`], [t("review.when"), time(item.since)]]} />
    <${Decide} choices=${choices} onDone=${onDone} needsReason=${false} />`;
}

/** @param {{item: any, onDone: () => void}} props */
export function ComplaintDecision({ item, onDone }) {
  const found = useData("/api/complaints", { user_id: item.user_id, limit: 10 });
  const name = item.user_name ?? item.user_id;
  const columns = [
    { title: t("review.when"), show: (/** @type {any} */ row) => html`<span class="nowrap">${time(row.received_at)}</span>` },
    { title: t("review.complaint.number"), show: (/** @type {any} */ row) => html`<a href=${`/numbers/${encodeURIComponent(row.number)}`}>${phone(row.number)}</a><span class="sub"><bdi>${row.source}</bdi>${row.text ? html` · <bdi>${row.text}</bdi>` : null}</span>` },
  ];
  const freeze = { id: "freeze", label: t("review.complaint.freeze", { name }), says: t("review.complaint.freeze_says"), done: t("review.complaint.freeze_done", { name }), kind: "danger", work: (/** @type {string} */ _, /** @type {string} */ reason) => post(`/api/admin/users/${encodeURIComponent(item.user_id)}/freeze`, { reason }) };
  return html`<${Parts} rows=${[["review.complaint.count", count(item.facts.complaints)], ["review.complaint.limit", count(item.facts.limit)]]} />
    ${item.user_id ? html`<${Facts} rows=${[[t("review.user"), html`<${UserLink} item=${item} />`]]} />` : null}
    <${Shown} of=${found} lines=${4}>${(/** @type {any} */ list) => html`<p class="small">${list.what_follows}</p><${Table} caption=${t("nav.complaints")} columns=${columns} rows=${list.complaints} id=${(/** @type {any} */ row) => row.complaint_id} />`}<//>
    ${item.user_id ? html`<${Decide} choices=${[freeze]} onDone=${onDone} />` : html`<p class="small muted">${t("review.complaint.platform")}</p><p><a class="btn" href="/campaigns">${t("review.complaint.to_campaigns")}</a></p>`}`;
}
