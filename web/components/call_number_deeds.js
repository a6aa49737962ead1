// @ts-check
/** What can be done about a number: not call it any more, or keep a complaint of it. */

import { post } from "../core/api.js";
import { dateInIndia, phone } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { isAdmin } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { Ask, Dialog } from "./dialog.js";
import { Button, Field } from "./field.js";
import { Failed } from "./states.js";
import { useAction } from "../core/data.js";

const SOURCES = ["person", "network", "trai_app", "regulator", "other"];

/** @param {{number: string, onDone: () => void, onClose: () => void}} props */
export function BlockNumber({ number, onDone, onClose }) {
  const [note, setNote] = useState("");
  const [list, setList] = useState("own");
  return html`<${Ask} title=${t("calls.block_title", { number: phone(number) })} action=${t("calls.block")} onClose=${onClose} onDone=${onDone}
    work=${(/** @type {string} */ key) => post("/api/do-not-call", { number, list, ...(note.trim() ? { note: note.trim() } : {}) }, key)}>
    <p>${t(list === "platform" ? "calls.block_platform_what" : "calls.block_what")}</p>
    ${isAdmin.value ? html`<${Field} label=${t("calls.block_list")} value=${list} options=${[["own", t("calls.lists.own")], ["platform", t("calls.lists.platform")]]} onInput=${setList} />` : null}
    <${Field} label=${t("calls.note")} value=${note} onInput=${setNote} maxlength="500" dir="auto" />
  <//>`;
}

/** @param {{number: string, onDone: (answer: any) => void, onClose: () => void}} props */
export function RecordComplaint({ number, onDone, onClose }) {
  const [source, setSource] = useState("person");
  const [received, setReceived] = useState(dateInIndia());
  const [text, setText] = useState("");
  const deed = useAction((key) => post("/api/complaints", { number, source, received_at: received, text: text.trim() }, key));
  const wrong = deed.problem?.fields ?? {};
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const answer = await deed.run();
    if (answer) onDone(answer);
  };
  return html`<${Dialog} title=${t("calls.complaint_title", { number: phone(number) })} onClose=${onClose}><form class="stack" onSubmit=${send}>
    <p>${t("calls.complaint_what")}</p>
    <${Field} label=${t("calls.complaint_source")} value=${source} options=${SOURCES.map((one) => [one, named("calls.complaint_sources", one)])} onInput=${setSource} error=${wrong["source"]} />
    <${Field} label=${t("calls.complaint_received")} type="date" value=${received} max=${dateInIndia()} onInput=${setReceived} required error=${wrong["received_at"]} />
    <${Field} label=${t("calls.complaint_text")} isArea value=${text} onInput=${setText} maxlength="2000" dir="auto" error=${wrong["text"]} />
    ${deed.problem && Object.keys(wrong).length === 0 ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${deed.isBusy}>${t("calls.complaint_record")}<//><${Button} kind="quiet" onClick=${onClose}>${t("actions.cancel")}<//></div>
  </form><//>`;
}
