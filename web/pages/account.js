// @ts-check
/** The own account: who one is, and what opens it: password, second factor, sessions, API keys. */

import { Page } from "../components/shell.js";
import { Facts } from "../components/table.js";
import { day } from "../core/format.js";
import { html } from "../core/html.js";
import { isStaff, me } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { ApiKeys } from "./account_keys.js";
import { Password } from "./account_password.js";
import { SecondFactor } from "./account_second_factor.js";
import { Sessions } from "./account_sessions.js";

function Profile() {
  const account = me.value;
  return html`<section class="card"><header><h2>${t("account.profile")}</h2></header><div class="body stack">
    <${Facts} rows=${[
      [t("fields.name"), html`<bdi>${account.name}</bdi>`],
      [t("fields.email"), html`<bdi>${account.email}</bdi>`],
      [t("account.phone"), account.phone ?? "—"],
      [t("account.role"), named("roles", account.role)],
      [t("account.id"), html`<span class="mono">${account.id}</span>`],
      [t("account.since"), day(account.created_at)],
    ]} />
    <p class="xs muted">${t(isStaff.value ? "account.profile_staff" : "account.profile_hint")}</p>
  </div></section>`;
}

export default function AccountPage() {
  return html`<${Page} title=${t("nav.account")} page=${html`<div class="grid halves start">
      <div class="stack"><${Profile} /><${SecondFactor} /></div>
      <${Password} />
    </div>
    <${Sessions} />
    <${ApiKeys} />`} />`;
}
