// @ts-check
/** Sessions: where this account is logged in, and ending those that should not be. */

import { Ask } from "../components/dialog.js";
import { leave } from "../components/shell.js";
import { Shown, Tag } from "../components/states.js";
import { Pages, Table } from "../components/table.js";
import { say } from "../components/toast.js";
import { request } from "../core/api.js";
import { useData } from "../core/data.js";
import { time } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { query } from "../core/router.js";
import { t } from "../core/texts.js";

export function Sessions() {
  const of = useData("/api/auth/sessions", { cursor: query.value.get("sessions") });
  const [ending, setEnding] = useState(/** @type {any} */ (null));
  const done = () => {
    say(t(ending === "others" ? "account.others_ended" : "account.session_ended"));
    setEnding(null);
    of.reload();
  };
  const columns = [
    { title: t("account.device"), show: (/** @type {any} */ row) => html`<bdi>${row.device ?? t("account.device_unknown")}</bdi>${row.current ? html` <${Tag} kind="ok">${t("account.this_one")}<//>` : null}<span class="sub mono">${row.address ?? "—"}</span>` },
    { title: t("account.last_used"), show: (/** @type {any} */ row) => (row.last_used_at ? time(row.last_used_at) : t("account.not_used")) },
    { title: t("account.begun"), isMinor: true, show: (/** @type {any} */ row) => time(row.created_at) },
    { title: t("account.ends"), isMinor: true, show: (/** @type {any} */ row) => time(row.expires_at) },
    { title: t("account.action"), show: (/** @type {any} */ row) => row.current
      ? html`<button class="btn" type="button" onClick=${() => void leave()}>${t("actions.log_out")}</button>`
      : html`<button class="btn" type="button" aria-label=${t("account.end_of", { device: row.device ?? row.address ?? row.session_id })} onClick=${() => setEnding(row)}>${t("account.end")}</button>` },
  ];
  const hasOthers = (of.data?.sessions ?? []).some((/** @type {any} */ row) => !row.current);
  return html`<section class="card" id="sessions"><header><h2>${t("account.sessions")}</h2>
      ${hasOthers ? html`<button class="btn" type="button" onClick=${() => setEnding("others")}>${t("account.end_others")}</button>` : null}</header>
    <${Shown} of=${of}>${(/** @type {any} */ page) => html`<${Table} caption=${t("account.sessions")} columns=${columns} rows=${page.sessions} id=${(/** @type {any} */ row) => row.session_id} />
      ${page.sessions.length === 1 && !query.value.get("sessions") ? html`<p class="body small muted">${t("account.only_here")}</p>` : null}
      <${Pages} next=${page.next_cursor} name="sessions" />`}<//>
    ${ending ? html`<${Ask} title=${t(ending === "others" ? "account.end_others" : "account.end_session")} action=${t(ending === "others" ? "account.end_others" : "account.end_session")} kind="danger"
      work=${() => request("DELETE", ending === "others" ? "/api/auth/sessions" : `/api/auth/sessions/${encodeURIComponent(ending.session_id)}`)} onDone=${done} onClose=${() => setEnding(null)}>
      <p class="small">${ending === "others" ? t("account.end_others_about") : html`<bdi>${t("account.end_about", { device: ending.device ?? t("account.device_unknown"), address: ending.address ?? "—" })}</bdi>`}</p><//>` : null}
  </section>`;
}
