// @ts-check
/** Home of a user: what there is, how long it lasts, what is going on. */

import { BalanceCard } from "../components/home_balance.js";
import { CampaignsCard } from "../components/home_campaigns.js";
import { FirstSteps, LatestCard, useLatest } from "../components/home_latest.js";
import { QuickCall } from "../components/home_quick_call.js";
import { RunwayNotice } from "../components/home_runway.js";
import { SpendCard } from "../components/home_spend.js";
import { Page } from "../components/shell.js";
import { useData } from "../core/data.js";
import { html } from "../core/html.js";
import { t } from "../core/texts.js";

export default function HomePage() {
  const days = useData("/api/wallet/days", {}, { live: ["balance"] });
  const latest = useLatest();
  const isNew = latest.data !== undefined && latest.data.transactions.length === 0;
  return html`<${Page} title=${t("nav.home")} page=${html`
    <${RunwayNotice} days=${days.data?.days} />
    ${isNew ? html`<${FirstSteps} />` : null}
    <div class="grid g2"><${BalanceCard} days=${days.data?.days} isKnown=${days.problem === null} /><${QuickCall} /></div>
    ${isNew ? null : html`<div class="grid g2"><${SpendCard} of=${days} /><${CampaignsCard} /></div><${LatestCard} of=${latest} />`}`} />`;
}
