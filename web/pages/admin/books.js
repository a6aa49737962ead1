// @ts-check
/** The books: audit, reconciliation with Razorpay, settlements, webhooks and disputes. */

import { Audit } from "../../components/books_audit.js";
import { Disputes } from "../../components/books_disputes.js";
import { Reconciliation } from "../../components/books_reconciliation.js";
import { Settlements } from "../../components/books_settlements.js";
import { Webhooks } from "../../components/books_webhooks.js";
import { Chips } from "../../components/field.js";
import { Page } from "../../components/shell.js";
import { html } from "../../core/html.js";
import { navigate, query } from "../../core/router.js";
import { t } from "../../core/texts.js";

/** @type {Record<string, any>} */
const PARTS = { audit: Audit, reconciliation: Reconciliation, settlements: Settlements, webhooks: Webhooks, disputes: Disputes };

export default function BooksPage() {
  const asked = query.value.get("part") ?? "audit";
  const part = asked in PARTS ? asked : "audit";
  const options = Object.keys(PARTS).map((name) => [name, t(`books.parts.${name}`)]);
  const choose = (/** @type {string} */ name) => navigate(name === "audit" ? "/admin/books" : `/admin/books?part=${name}`);
  return html`<${Page} title=${t("books.title")} page=${html`<${Chips} label=${t("books.part")} value=${part} options=${options} onChoose=${choose} /><${PARTS[part]} key=${part} />`} />`;
}
