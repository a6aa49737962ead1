// @ts-check
/** A call whose end is unknown or contradicted: how long it was talked, and what that costs. */

import { post } from "../core/api.js";
import { useData } from "../core/data.js";
import { duration, money, paise, phone, time } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { Field } from "./field.js";
import { Decide } from "./review_decide.js";
import { Ids, Parts, UserLink } from "./review_evidence.js";
import { Shown } from "./states.js";
import { Facts } from "./table.js";

const SECONDS_MAX = 86_400;

/** What so many seconds cost at the rates of the call, as the service computes it: rounded once, half up. */
export function costOf(/** @type {any} */ call, /** @type {number} */ seconds) {
  if (seconds <= 0) return 0;
  let sixtieths = 0;
  let fees = 0;
  for (const leg of call.legs) {
    const atLeast = Math.max(seconds, leg.minimum_billable_seconds);
    const following = Math.ceil(Math.max(0, atLeast - leg.first_pulse_seconds) / leg.pulse_seconds);
    sixtieths += (paise(leg.rate_per_minute) ?? 0) * (leg.first_pulse_seconds + following * leg.pulse_seconds);
    fees += paise(leg.connection_fee) ?? 0;
  }
  return fees + Math.floor((2 * sixtieths + 60) / 120);
}

/** @param {{item: any, onDone: () => void}} props */
export function CallDecision({ item, onDone }) {
  const found = useData(`/api/calls/${encodeURIComponent(item.id)}`);
  return html`<p class="small">${t(`review.call.why.${item.reason}`)} <bdi>${item.detail}</bdi></p>
    <${Shown} of=${found} lines=${5}>${(/** @type {any} */ call) => html`
      <${Parts} rows=${[["review.call.reserved", money(paise(call.held))], ["review.call.charged", money(paise(call.cost))], ["review.call.rate", t("review.call.a_minute", { rate: money(paise(call.rate_per_minute)) })]]} />
      <${Facts} rows=${[[t("review.user"), html`<${UserLink} item=${item} />`], [t("review.call.number"), phone(call.to)], [t("review.call.call"), html`<${Ids} id=${call.call_id} href=${`/calls/${call.call_id}`} />`], [t("review.call.status"), named("review.call.statuses", call.status)],
        [t("review.call.placed"), time(call.created_at, { seconds: true })], [t("review.call.answered"), time(call.answered_at, { seconds: true })], [t("review.call.talked"), duration(call.duration_seconds)], [t("review.call.limit"), duration(call.limit_seconds)],
        [t("review.call.network"), html`${call.provider} <${Ids} id=${call.provider_call_id} />`]]} />
      ${item.reason === "money_held" ? html`<${Held} call=${call} item=${item} onDone=${onDone} />` : html`<${Decide} choices=${[keep(call, item)]} onDone=${onDone} />`}`}<//>`;
}

const pathOf = (/** @type {any} */ item) => `/api/admin/calls/${encodeURIComponent(item.id)}/resolve`;

function keep(/** @type {any} */ call, /** @type {any} */ item) {
  const amount = money(paise(call.cost));
  return {
    id: "keep",
    label: t("review.call.keep", { amount }),
    says: t("review.call.keep_says", { amount }),
    done: t("review.call.keep_done"),
    work: (/** @type {string} */ _, /** @type {string} */ note) => post(pathOf(item), { note }),
  };
}

/** Its money is still reserved: how long was it talked? @param {{call: any, item: any, onDone: () => void}} props */
function Held({ call, item, onDone }) {
  const [text, setText] = useState("");
  const seconds = /^\d{1,5}$/.test(text.trim()) ? Number(text) : null;
  const isRight = seconds !== null && seconds <= SECONDS_MAX;
  const cost = isRight ? costOf(call, seconds) : null;
  const amount = money(cost);
  const rest = cost === null ? null : Math.max(0, (paise(call.held) ?? 0) - cost);
  const send = (/** @type {number} */ duration_seconds) => (/** @type {string} */ _, /** @type {string} */ note) => post(pathOf(item), { note, duration_seconds });
  const choices = [
    {
      id: "charge",
      label: isRight ? t("review.call.charge", { amount, time: duration(seconds) }) : t("review.call.charge_unknown"),
      says: isRight ? t("review.call.charge_says", { amount, rest: money(rest) }) : t("review.call.charge_first"),
      done: t("review.call.charge_done", { amount }),
      off: isRight ? null : t("review.call.type_seconds"),
      work: send(seconds ?? 0),
    },
    { id: "free", label: t("review.call.free"), says: t("review.call.free_says", { amount: money(paise(call.held)) }), done: t("review.call.free_done"), work: send(0) },
  ];
  const error = text.trim() && !isRight ? t("review.call.seconds_wrong") : null;
  return html`<${Decide} choices=${choices} onDone=${onDone}>
    <${Field} label=${t("review.call.seconds")} hint=${t("review.call.seconds_hint")} value=${text} onInput=${setText} inputmode="numeric" autocomplete="off" error=${error} /><//>`;
}
