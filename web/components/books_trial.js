// @ts-check
/** The trial balance: every account, on the side on which it stands, and that both sides are the same. */

import { money, paise } from "../core/format.js";
import { html } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { Empty, Tag } from "./states.js";

/**
 * What the wallets hold is owed to their users, so it stands on the credit side; what gave it to them on the other.
 *
 * @param {{accounts: Record<string, number>, isBalanced: boolean}} props rupees by account: what it gave to the
 *   wallets, negative what it took; `isBalanced`: the audit has compared it with the wallets
 */
export function TrialBalance({ accounts, isBalanced }) {
  const given = Object.entries(accounts).map(([name, rupees]) => ({ name, amount: paise(rupees) ?? 0 })).sort((a, b) => a.name.localeCompare(b.name));
  if (!given.length) return html`<${Empty} icon="scale" title=${t("books.trial.nothing")} />`;
  const rows = [...given, { name: "wallets", amount: -given.reduce((sum, row) => sum + row.amount, 0) }];
  const debits = rows.reduce((sum, row) => sum + Math.max(0, row.amount), 0);
  const credits = rows.reduce((sum, row) => sum + Math.max(0, -row.amount), 0);
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${t("books.trial.title")}><table class="table"><caption class="hidden">${t("books.trial.title")}</caption>
      <thead><tr><th scope="col">${t("books.trial.account")}</th><th scope="col" class="num">${t("books.trial.debit")}</th><th scope="col" class="num">${t("books.trial.credit")}</th></tr></thead>
      <tbody>${rows.map((row) => html`<tr key=${row.name}><td>${nameOf(row.name)}<span class="sub mono">${row.name}</span></td><td class="num">${row.amount > 0 ? money(row.amount) : ""}</td><td class="num">${row.amount <= 0 ? money(-row.amount) : ""}</td></tr>`)}</tbody>
      <tfoot><tr><th scope="row">${t("books.trial.sum")}</th><td class="num">${money(debits)}</td><td class="num">${money(credits)}</td></tr></tfoot></table></div>
    <div class="body stack tight"><div><${Tag} kind=${isBalanced ? "ok" : "bad"}>${t(isBalanced ? "books.trial.adds_up" : "books.trial.differs")}<//></div><p class="small muted">${t("books.trial.what")}</p></div>`;
}

/** The name of an account; 'gateway:razorpay' stands as `gateway_razorpay` in the texts. */
function nameOf(/** @type {string} */ account) {
  const key = account.replaceAll(/[:.]/g, "_");
  const text = named("books.trial.accounts", key);
  return text === key.replaceAll("_", " ") ? account : text;
}
