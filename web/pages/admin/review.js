// @ts-check
/** The review queue: everything that waits for a person, the oldest first, each with its evidence and its decision. */

import { ReviewItem } from "../../components/review_item.js";
import { keyOf, ReviewKinds, ReviewRows } from "../../components/review_list.js";
import { Page } from "../../components/shell.js";
import { Empty, Loading, Shown } from "../../components/states.js";
import { Pages } from "../../components/table.js";
import { Icon } from "../../components/icon.js";
import { useData } from "../../core/data.js";
import { html } from "../../core/html.js";
import { query, setQuery } from "../../core/router.js";
import { t } from "../../core/texts.js";

const EVERY_MS = 30_000;

export default function ReviewPage() {
  const kind = query.value.get("kind");
  const list = useData("/api/admin/review", { kind, cursor: query.value.get("cursor") }, { every_ms: EVERY_MS });
  return html`<${Page} title=${t("review.title")} page=${html`<${Shown} of=${list} lines=${8}>${(/** @type {any} */ found) => html`<${Queue} found=${found} reload=${list.reload} />`}<//>`} />`;
}

/** @param {{found: any, reload: () => void}} props */
function Queue({ found, reload }) {
  const wanted = query.value.get("item");
  const chosen = wanted ?? (found.items[0] ? keyOf(found.items[0]) : null);
  return html`<${ReviewKinds} found=${found} />
    <${Unknown} found=${found} />
    ${found.items.length === 0 && !wanted
      ? html`<section class="card"><${Nothing} found=${found} /></section>`
      : html`<div class=${`grid review ${wanted ? "has-item" : ""}`}>
          <section class="card review-rows"><${ReviewRows} items=${found.items} chosen=${chosen} /><${Pages} next=${found.next_cursor} /></section>
          ${chosen ? html`<${Chosen} key=${chosen} items=${found.items} chosen=${chosen} reload=${reload} />` : null}
        </div>`}`;
}

/** What is listed may not be all: a part could not be read. @param {{found: any}} props */
function Unknown({ found }) {
  const kinds = Object.entries(found.unknown);
  if (!kinds.length) return null;
  const away = kinds.filter(([, why]) => why === "unavailable").map(([kind]) => t(`review.kinds.${kind}`));
  return html`<div class="notices">
    ${away.length ? html`<div class="notice" role="status"><${Icon} name="warn" /><div><strong>${t("review.unavailable", { kinds: away.join(", ") })}</strong></div></div>` : null}
    ${kinds.some(([, why]) => why === "never_audited") ? html`<div class="notice" role="status"><${Icon} name="warn" /><div><strong>${t("review.never_audited")}</strong></div><a class="btn" href="/admin/books">${t("review.to_audit")}</a></div>` : null}
  </div>`;
}

/** @param {{found: any}} props */
function Nothing({ found }) {
  if (Object.keys(found.unknown).length) return html`<${Empty} icon="warn" title=${t("review.nothing_known")} />`;
  if (query.value.get("kind")) return html`<${Empty} icon="check" title=${t("review.nothing_of_kind")}><button class="btn" type="button" onClick=${() => setQuery({ kind: null })}>${t("review.show_all")}</button><//>`;
  return html`<${Empty} icon="check" title=${t("review.nothing")}><span class="small">${t("review.nothing_why")}</span><//>`;
}

/** The item that is chosen; one that is on another page of the list is asked for. @param {{items: any[], chosen: string, reload: () => void}} props */
function Chosen({ items, chosen, reload }) {
  const listed = items.find((item) => keyOf(item) === chosen);
  const [kind, ...rest] = chosen.split(":");
  const one = useData(listed ? null : "/api/admin/review", { kind, id: rest.join(":") });
  const close = () => setQuery({ item: null });
  const back = html`<button class="btn quiet only-s" type="button" onClick=${close}>← ${t("review.to_list")}</button>`;
  const done = () => {
    close();
    reload();
  };
  if (listed) return html`<div class="review-item">${back}<${ReviewItem} item=${listed} onDone=${done} /></div>`;
  if (one.isLoading) return html`<div class="review-item"><section class="card"><${Loading} /></section></div>`;
  return html`<div class="review-item">${back}<${Shown} of=${one}>${(/** @type {any} */ found) => found.items[0]
    ? html`<${ReviewItem} item=${found.items[0]} onDone=${done} />`
    : html`<section class="card"><${Empty} icon="check" title=${t("review.decided")}><button class="btn" type="button" onClick=${close}>${t("review.to_list")}</button><//></section>`}<//></div>`;
}
