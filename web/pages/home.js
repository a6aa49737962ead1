// @ts-check
/** Home of a user: what there is, how long it lasts, what is going on. */

import { BalanceParts } from "../components/money.js";
import { Page } from "../components/shell.js";
import { html } from "../core/html.js";
import { money } from "../core/format.js";
import { balance } from "../core/session.js";
import { t } from "../core/texts.js";

export default function HomePage() {
  return html`<${Page} title=${t("nav.home")} page=${html`<section class="card balance"><div class="body"><h2 class="muted">${t("balance.available")}</h2>
    <div class="figure money">${money(balance.value?.available_paise)}</div><${BalanceParts} balance=${balance.value} /></div></section>`} />`;
}
