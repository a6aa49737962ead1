// @ts-check
/** Putting numbers on a do-not-call list: typed, pasted, or as a file; and taking one off or forgetting it. */

import { newKey, post, request } from "../core/api.js";
import { useAction } from "../core/data.js";
import { count, phone } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { Drop } from "./campaign_list_step.js";
import { Ask, Dialog } from "./dialog.js";
import { Button, Chips, Field } from "./field.js";
import { Failed } from "./states.js";
import { Table } from "./table.js";

const NUMBERS_MAX = 1_000;
const split = (/** @type {string} */ text) => text.split(/[\n,;\t]+/).map((one) => one.trim()).filter(Boolean);

/** What became of the numbers. @param {{added: any}} props */
export function Added({ added }) {
  const columns = [
    { title: t("do_not_call.line"), isNumber: true, show: (/** @type {any} */ one) => count(one.row) },
    { title: t("do_not_call.value"), show: (/** @type {any} */ one) => html`<bdi>${one.value || t("campaigns.check.blank")}</bdi>` },
    { title: t("do_not_call.why"), show: (/** @type {any} */ one) => one.message },
  ];
  return html`<div class="stack" role="status">
    <p class="notice ok">${t("do_not_call.added", { count: count(added.added) })}${added.already_listed ? ` ${t("do_not_call.already", { count: count(added.already_listed) })}` : ""}</p>
    ${added.rejected_count ? html`<div class="stack tight"><strong>${t("do_not_call.rejected", { count: count(added.rejected_count) })}</strong>
      ${added.rejected_count > added.rejected.length ? html`<span class="xs muted">${t("do_not_call.first_rejected", { count: count(added.rejected.length) })}</span>` : null}
      <div class="chart-table"><${Table} caption=${t("do_not_call.rejected", { count: count(added.rejected_count) })} columns=${columns} rows=${added.rejected} id=${(/** @type {any} */ one) => String(one.row)} /></div></div>` : null}</div>`;
}

/** @param {{list: string, onClose: () => void, onDone: () => void}} props */
export function AddNumbers({ list, onClose, onDone }) {
  const [way, setWay] = useState("type");
  const [text, setText] = useState("");
  const [source, setSource] = useState("");
  const [note, setNote] = useState("");
  const [added, setAdded] = useState(/** @type {any} */ (null));
  const [asked, setAsked] = useState(/** @type {{file: File, columns: any[]} | null} */ (null));
  const numbers = split(text);
  const add = useAction((key) => post("/api/do-not-call", { numbers, list, note: note.trim(), ...(source.trim() ? { source: source.trim() } : {}) }, key));
  const upload = useAction((_, /** @type {File} */ file, /** @type {string | undefined} */ column) => {
    const form = new FormData();
    form.set("file", file, file.name);
    form.set("list", list);
    if (note.trim()) form.set("note", note.trim());
    if (column) form.set("phone_column", column);
    return request("POST", "/api/do-not-call/upload", { form, key: newKey() });
  });
  const took = (/** @type {any} */ answer) => {
    if (!answer) return;
    setAdded(answer);
    setAsked(null);
    onDone();
  };
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    took(await add.run());
  };
  const take = async (/** @type {File} */ file, /** @type {string | undefined} */ column = undefined) => {
    setAsked({ file, columns: [] });
    took(await upload.run(file, column));
  };
  const off = !numbers.length ? t("do_not_call.type_one") : numbers.length > NUMBERS_MAX ? t("do_not_call.too_many", { most: count(NUMBERS_MAX) }) : null;
  const candidates = upload.problem?.body.candidates ?? [];
  return html`<${Dialog} isWide title=${t(list === "platform" ? "do_not_call.add_platform" : "do_not_call.add")} onClose=${onClose}>
    ${added ? html`<${Added} added=${added} /><div class="row"><button type="button" class="btn primary" onClick=${onClose}>${t("actions.close")}</button><button type="button" class="btn" onClick=${() => { setAdded(null); setText(""); }}>${t("do_not_call.more")}</button></div>` : html`
    <p class="small muted">${t(list === "platform" ? "do_not_call.add_platform_story" : "do_not_call.add_story")}</p>
    <${Chips} label=${t("campaigns.list.way")} value=${way} options=${[["type", t("do_not_call.type")], ["file", t("campaigns.list.file")]]} onChoose=${setWay} />
    <form class="stack" onSubmit=${send}>
      ${way === "type" ? html`<${Field} isArea label=${t("campaigns.list.numbers")} hint=${t("do_not_call.numbers_hint")} rows="5" value=${text} onInput=${setText} spellcheck="false" error=${add.problem?.fields["numbers"]} />
        <${Field} label=${t("do_not_call.source")} hint=${t("do_not_call.source_hint")} value=${source} onInput=${setSource} maxlength="100" />` : null}
      <${Field} label=${t("do_not_call.note")} value=${note} onInput=${setNote} maxlength="500" />
      ${way === "type" ? html`${add.problem && !add.problem.fields["numbers"] ? html`<${Failed} problem=${add.problem} />` : null}
        <div><${Button} type="submit" kind="primary" isBusy=${add.isBusy} off=${off}>${t("do_not_call.put", { count: count(numbers.length) })}<//></div>`
      : html`<${Drop} onFile=${take} hint=${t("campaigns.list.limits")} isBusy=${upload.isBusy} />
        ${upload.problem ? html`<${Failed} problem=${upload.problem} />` : null}
        ${candidates.length && asked ? html`<div class="row">${candidates.map((/** @type {any} */ one) => html`<button key=${one.column} type="button" class="btn" onClick=${() => take(asked.file, one.column)}><bdi>${one.column}</bdi> <span class="muted small">${t("campaigns.check.numbers", { count: count(one.numbers) })}</span></button>`)}</div>` : null}`}
    </form>`}
  <//>`;
}

/** @param {{listing: any, deed: "remove" | "erase", onClose: () => void, onDone: () => void}} props */
export function AskAbout({ listing, deed, onClose, onDone }) {
  const { number, list } = listing;
  const work = (/** @type {string} */ key) => deed === "erase"
    ? post("/api/do-not-call/erase", { number, list }, key)
    : request("DELETE", "/api/do-not-call", { query: { number, list }, key });
  return html`<${Ask} title=${t(`do_not_call.${deed}`)} action=${t(`do_not_call.${deed}_now`, { number: phone(number) })} kind="danger" work=${work} onDone=${onDone} onClose=${onClose}>
    <p>${t(`do_not_call.${deed}_story${list === "platform" ? "_platform" : ""}`, { number: phone(number) })}</p><//>`;
}

/** Forget a number that is not on the list yet, or whose entry one need not look for. @param {{list: string, onClose: () => void, onDone: () => void}} props */
export function EraseNumber({ list, onClose, onDone }) {
  const [number, setNumber] = useState("");
  const erase = useAction((key) => post("/api/do-not-call/erase", { number: number.trim(), list }, key));
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (await erase.run()) onDone();
  };
  return html`<${Dialog} title=${t("do_not_call.erase")} onClose=${onClose}><form class="stack" onSubmit=${send}>
    <p>${t("do_not_call.erase_any")}</p>
    <${Field} label=${t("campaigns.contacts.number")} type="tel" value=${number} onInput=${setNumber} required error=${erase.problem?.fields["number"]} />
    ${erase.problem && !erase.problem.fields["number"] ? html`<${Failed} problem=${erase.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="danger" isBusy=${erase.isBusy} off=${number.trim() ? null : t("do_not_call.type_one")}>${t("do_not_call.erase_now", { number: number.trim() })}<//></div></form><//>`;
}
