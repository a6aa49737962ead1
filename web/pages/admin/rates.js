// @ts-check
/** Rates: what calls cost by default, and the rate card by destination. */

import { DefaultRate } from "../../components/rates_default.js";
import { NewCard } from "../../components/rates_new.js";
import { StoredCard } from "../../components/rates_stored.js";
import { RateTest } from "../../components/rates_test.js";
import { Versions } from "../../components/rates_versions.js";
import { Page } from "../../components/shell.js";
import { Shown } from "../../components/states.js";
import { useData } from "../../core/data.js";
import { html } from "../../core/html.js";
import { query } from "../../core/router.js";
import { isAdmin } from "../../core/session.js";
import { t } from "../../core/texts.js";

export default function RatesPage() {
  const cards = useData("/api/admin/rate-cards", { limit: 25, cursor: query.value.get("cursor") });
  const rate = useData("/api/wallet/call-rate");
  const reload = () => {
    cards.reload();
    rate.reload();
  };
  const version = Number(query.value.get("version")) || null;
  return html`<${Page} title=${t("rates.title")} page=${html`
    <div class="grid g2">
      <${DefaultRate} rate=${rate} hasCard=${Boolean(cards.data?.active_version)} onDone=${reload} />
      <${RateTest} />
    </div>
    ${version ? html`<${StoredCard} key=${version} version=${version} active=${cards.data?.active_version ?? null} onDone=${reload} />` : isAdmin.value ? html`<${NewCard} onDone=${reload} />` : null}
    <section class="card"><header><h2>${t("rates.versions")}</h2></header>
      <${Shown} of=${cards}>${(/** @type {any} */ found) => html`<${Versions} found=${found} onDone=${reload} />`}<//></section>`} />`;
}
