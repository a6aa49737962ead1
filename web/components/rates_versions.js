// @ts-check
/** The versions of the rate card: which one holds, which one comes, and the way back to an earlier one. */

import { post } from "../core/api.js";
import { count, time } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { query } from "../core/router.js";
import { isAdmin } from "../core/session.js";
import { t } from "../core/texts.js";
import { Ask } from "./dialog.js";
import { Button } from "./field.js";
import { Empty, Tag } from "./states.js";
import { Pages, Table } from "./table.js";
import { say } from "./toast.js";

/** @param {{found: any, onDone: () => void}} props */
export function Versions({ found, onDone }) {
  const coming = found.schedule.filter((/** @type {any} */ one) => Date.parse(one.effective_from) > Date.now());
  const current = found.schedule.find((/** @type {any} */ one) => Date.parse(one.effective_from) <= Date.now());
  return html`<div class="body stack">
      <p>${current?.version ? t("rates.in_force", { version: current.version, since: time(current.effective_from) }) : t("rates.none_in_force")}</p>
      ${coming.length ? html`<ul class="plain">${coming.map((/** @type {any} */ one) => html`<li key=${one.effective_from}><${Tag} kind="live">${t("rates.scheduled")}<//> ${one.version ? t("rates.comes", { version: one.version, when: time(one.effective_from) }) : t("rates.ends", { when: time(one.effective_from) })}</li>`)}</ul>` : null}
      ${isAdmin.value && found.active_version ? html`<${NoCard} onDone=${onDone} />` : null}
    </div>
    ${found.rate_cards.length ? html`<${List} found=${found} coming=${coming} />` : html`<${Empty} icon="tag" title=${t("rates.no_versions")}><span class="small">${t("rates.no_versions_why")}</span><//>`}
    <${Pages} next=${found.next_cursor} />`;
}

/** @param {{found: any, coming: any[]}} props */
function List({ found, coming }) {
  const shown = Number(query.value.get("version")) || null;
  const tag = (/** @type {any} */ card) => {
    if (card.version === found.active_version) return html`<${Tag} kind="ok">${t("rates.holds")}<//>`;
    const later = coming.find((one) => one.version === card.version);
    return later ? html`<${Tag} kind="live">${t("rates.from", { when: time(later.effective_from) })}<//>` : html`<${Tag}>${t("rates.stored")}<//>`;
  };
  const columns = [
    { title: t("rates.version_column"), show: (/** @type {any} */ card) => html`<a href=${`/admin/rates?version=${card.version}`}>${t("rates.version", { version: card.version })}</a>${card.note ? html`<span class="sub"><bdi>${card.note}</bdi></span>` : null}` },
    { title: t("rates.state"), show: tag },
    { title: t("rates.rows"), isNumber: true, show: (/** @type {any} */ card) => count(card.rows_count) },
    { title: t("rates.created"), isMinor: true, show: (/** @type {any} */ card) => html`${time(card.created_at)}<span class="sub"><bdi>${card.created_by}</bdi></span>` },
    { title: t("rates.file"), show: (/** @type {any} */ card) => html`<a class="btn quiet" href=${`/api/admin/rate-cards/${card.version}/download`} download aria-label=${t("rates.download_label", { version: card.version })}>CSV</a>` },
  ];
  return html`<${Table} caption=${t("rates.versions")} columns=${columns} rows=${found.rate_cards} id=${(/** @type {any} */ card) => card.version} isOn=${(/** @type {any} */ card) => card.version === shown} />`;
}

/** @param {{onDone: () => void}} props */
function NoCard({ onDone }) {
  const [isAsking, setIsAsking] = useState(false);
  const done = () => {
    setIsAsking(false);
    say(t("rates.no_card_done"));
    onDone();
  };
  return html`<div class="row"><${Button} kind="quiet" onClick=${() => setIsAsking(true)}>${t("rates.no_card_do")}<//></div>
    ${isAsking ? html`<${Ask} title=${t("rates.no_card_do")} action=${t("rates.no_card_action")} kind="danger" work=${() => post("/api/admin/rate-cards/activate", { version: null })} onDone=${done} onClose=${() => setIsAsking(false)}><p>${t("rates.no_card_says")}</p><//>` : null}`;
}
