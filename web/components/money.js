// @ts-check
/** Money on the page: figures, and the one line in which balance, held, due and available add up. */

import { html } from "../core/html.js";
import { money } from "../core/format.js";
import { t } from "../core/texts.js";

/** @param {{amount_paise: number | null | undefined, sign?: boolean, kind?: string}} props */
export function Money({ amount_paise, sign = false, kind = "" }) {
  return html`<span class=${`money ${kind}`}>${money(amount_paise, { sign })}</span>`;
}

/**
 * Balance − reserved = available, with what is due beside it.
 *
 * @param {{balance: {balance_paise: number, held_paise: number, available_paise: number, due_paise: number} | null}} props
 */
export function BalanceParts({ balance }) {
  const parts = [
    [t("balance.balance"), balance?.balance_paise],
    ["−", null],
    [t("balance.held"), balance?.held_paise],
    ["=", null],
    [t("balance.available"), balance?.available_paise],
  ];
  return html`<dl class="parts sum">
    ${parts.map(([name, value], i) => i % 2 === 1
      ? html`<div key=${i} class="operator" aria-hidden="true"><dt></dt><dd>${name}</dd></div>`
      : html`<div key=${i}><dt>${name}</dt><dd class="money">${money(/** @type {any} */ (value))}</dd></div>`)}
    ${balance === null || balance.due_paise > 0 ? html`<div class="due"><dt>${t("balance.due")}</dt><dd class="money">${money(balance?.due_paise)}</dd></div>` : null}
  </dl>`;
}
