// @ts-check
/** On a phone: what the bar below has no room for. */

import { Page, Settings } from "../components/shell.js";
import { html } from "../core/html.js";
import { isStaff } from "../core/session.js";
import { t } from "../core/texts.js";

const OF_USERS = [["/payments", "nav.payments"], ["/do-not-call", "nav.do_not_call"], ["/account", "nav.account"]];
const OF_STAFF = [["/admin/books", "nav.books"], ["/calls", "nav.calls"], ["/campaigns", "nav.campaigns"], ["/transactions", "nav.transactions"], ["/payments", "nav.payments"], ["/do-not-call", "nav.do_not_call"], ["/admin/complaints", "nav.complaints"], ["/admin/rules", "nav.rules"], ["/admin/network", "nav.network"], ["/admin/log", "nav.log"], ["/account", "nav.account"]];

export default function MorePage() {
  const items = isStaff.value ? OF_STAFF : OF_USERS;
  return html`<${Page} title=${t("nav.more")} page=${html`<section class="card"><div class="body stack"><ul class="plain links">${items.map(([href, text]) => html`<li key=${href}><a href=${href}>${t(/** @type {string} */ (text))}</a></li>`)}</ul></div></section>
    <section class="card"><div class="body"><${Settings} /></div></section>`} />`;
}
