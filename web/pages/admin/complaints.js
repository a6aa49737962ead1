// @ts-check
/** Complaints: how near the limit of ten days is, each one with its evidence, and recording one. */

import { Complaint, RecordComplaint } from "../../components/admin_complaint.js";
import { UserLink } from "../../components/admin_waiting.js";
import { Button, Field } from "../../components/field.js";
import { Icon } from "../../components/icon.js";
import { Page } from "../../components/shell.js";
import { Empty, Shown, Tag } from "../../components/states.js";
import { Pages, Table } from "../../components/table.js";
import { address } from "../../core/api.js";
import { useData } from "../../core/data.js";
import { phone, time } from "../../core/format.js";
import { html, useEffect, useState } from "../../core/html.js";
import { query, setQuery } from "../../core/router.js";
import { isAdmin } from "../../core/session.js";
import { t } from "../../core/texts.js";

/** @type {Record<string, string>} */
const KINDS = { ok: "ok", warning: "warn", limit_reached: "bad" };

export default function ComplaintsPage() {
  const userId = query.value.get("user_id");
  const of = useData("/api/complaints", { user_id: userId, limit: 50, cursor: query.value.get("cursor") });
  const [isRecording, setIsRecording] = useState(false);
  const open = query.value.get("complaint");
  const button = isAdmin.value ? html`<${Button} kind="primary" onClick=${() => setIsRecording(true)}><${Icon} name="plus" />${t("complaints.record")}<//>` : null;
  return html`<${Page} title=${t("nav.complaints")} page=${html`
    <${Shown} of=${of} lines=${8}>${(/** @type {any} */ found) => html`<${Standing} of=${found} userId=${userId} /><${Filter} userId=${userId} /><${List} of=${found} />`}<//>
    ${open ? html`<${Complaint} key=${open} id=${open} onClose=${() => setQuery({ complaint: null })} />` : null}
    ${isRecording ? html`<${RecordComplaint} userId=${userId} onClose=${() => setIsRecording(false)} onDone=${(/** @type {any} */ made) => { setIsRecording(false); of.reload(); setQuery({ complaint: made.complaint_id }); }} />` : null}`}>${button}<//>`;
}

/** Complaints of the last ten days against the limit, and what follows. @param {{of: any, userId: string | null}} props */
function Standing({ of, userId }) {
  const many = of.complaints_in_ten_days;
  const kind = KINDS[of.level] ?? "";
  return html`<section class="card"><header><h2>${t("complaints.ten_days")}</h2><${Tag} kind=${kind}>${t(`complaints.levels.${of.level}`)}<//></header>
    <div class="body stack"><div class="row"><strong class="big num">${t("complaints.of_limit", { count: many, limit: of.limit })}</strong>
      <span class=${`dots ${kind}`} aria-hidden="true">${Array.from({ length: of.limit }, (_, i) => html`<i key=${i} class=${i < many ? "on" : ""}></i>`)}</span></div>
      <p class="small">${t(`complaints.follows_from.${of.level}`, { left: Math.max(0, of.limit - many), limit: of.limit, warning: of.warning_at })}</p>
      <p class="xs muted">${userId ? t("complaints.of_user") : t("complaints.of_all")}</p></div></section>`;
}

/** @param {{userId: string | null}} props */
function Filter({ userId }) {
  const [text, setText] = useState(userId ?? "");
  useEffect(() => setText(userId ?? ""), [userId]);
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    setQuery({ user_id: text.trim(), cursor: null });
  };
  return html`<form class="filters" role="search" onSubmit=${send}>
    <${Field} label=${t("complaints.whose_field")} value=${text} onInput=${setText} placeholder="usr_…" maxlength="100" autocomplete="off" />
    <${Button} type="submit">${t("actions.show")}<//>
    ${userId ? html`<${Button} kind="quiet" onClick=${() => setQuery({ user_id: null, cursor: null })}>${t("complaints.everybodys")}<//>` : null}
    <a class="btn" href=${address("/api/complaints/download", { user_id: userId })} download><${Icon} name="down" />${t("actions.csv")}</a>
  </form>`;
}

/** @param {{of: any}} props */
function List({ of }) {
  const columns = [
    { title: t("complaints.number"), show: (/** @type {any} */ row) => html`<a class="num" href=${address(`/admin/complaints`, { user_id: query.value.get("user_id"), complaint: row.complaint_id })}>${phone(row.number)}</a>` },
    { title: t("complaints.received"), show: (/** @type {any} */ row) => time(row.received_at) },
    { title: t("complaints.whose"), isMinor: true, show: (/** @type {any} */ row) => (row.user_id ? html`<${UserLink} id=${row.user_id} />` : t("complaints.platform")) },
    { title: t("complaints.source"), show: (/** @type {any} */ row) => html`<bdi>${row.source}</bdi><span class="sub"><bdi>${row.text.length > 90 ? `${row.text.slice(0, 90)}…` : row.text}</bdi></span>` },
    { title: t("complaints.by"), isMinor: true, show: (/** @type {any} */ row) => html`<bdi>${row.recorded_by}</bdi>` },
  ];
  return html`<section class="card">${of.complaints.length
    ? html`<${Table} caption=${t("nav.complaints")} columns=${columns} rows=${of.complaints} id=${(/** @type {any} */ row) => row.complaint_id} isOn=${(/** @type {any} */ row) => row.complaint_id === query.value.get("complaint")} />`
    : html`<${Empty} icon="check" title=${t("complaints.none")}><span class="small">${t("complaints.none_hint")}</span><//>`}<${Pages} next=${of.next_cursor} /></section>`;
}
