// @ts-check
/** The default rate: what a minute costs where no card is in force and a user has no rate of their own. */

import { post } from "../core/api.js";
import { money, paise, rupees, typedPaise } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { isAdmin } from "../core/session.js";
import { t } from "../core/texts.js";
import { Ask } from "./dialog.js";
import { Button, Field } from "./field.js";
import { Shown } from "./states.js";
import { Facts } from "./table.js";
import { say } from "./toast.js";

/** @param {{rate: any, hasCard: boolean, onDone: () => void}} props */
export function DefaultRate({ rate, hasCard, onDone }) {
  const [isAsking, setIsAsking] = useState(false);
  const done = () => {
    setIsAsking(false);
    onDone();
  };
  return html`<section class="card balance"><header><h2>${t("rates.default")}</h2>${isAdmin.value ? html`<${Button} onClick=${() => setIsAsking(true)}>${t("rates.change")}<//>` : null}</header>
    <${Shown} of=${rate} lines=${3}>${(/** @type {any} */ found) => html`<div class="body stack">
      <div class="figure money">${t("rates.a_minute", { rate: money(found.source === "user" ? null : paise(found.rate_per_minute)) })}</div>
      ${found.source === "user" ? html`<p class="small">${t("rates.own", { rate: money(paise(found.rate_per_minute)) })}</p>` : null}
      ${hasCard ? html`<p class="notice small"><span>${t("rates.card_first")}</span></p>` : html`<p class="small muted">${t("rates.no_card")}</p>`}
      <${Facts} rows=${[[t("rates.pulses"), found.first_pulse_seconds === found.pulse_seconds ? t("rates.pulse", { count: found.pulse_seconds }) : t("rates.first_pulse", { first: found.first_pulse_seconds, following: found.pulse_seconds })], [t("rates.minimum"), t("rates.seconds", { count: found.minimum_billable_seconds })], [t("rates.fee"), money(paise(found.connection_fee))]]} />
      ${isAsking ? html`<${Change} now=${found.source === "user" ? null : paise(found.rate_per_minute)} onDone=${done} onClose=${() => setIsAsking(false)} />` : null}
    </div>`}<//></section>`;
}

/** @param {{now: number | null, onDone: () => void, onClose: () => void}} props */
function Change({ now, onDone, onClose }) {
  const [text, setText] = useState(now === null ? "" : String(rupees(now)));
  const wanted = typedPaise(text);
  const isRight = wanted !== null && wanted > 0 && wanted <= 100_000 && wanted !== now;
  const set = () => {
    if (!isRight) return Promise.resolve(undefined);
    return post("/api/wallet/set-call-rate", { rate: rupees(wanted) });
  };
  const done = (/** @type {any} */ answer) => {
    if (answer === null) return;
    say(t("rates.changed", { rate: money(wanted) }));
    onDone();
  };
  const wrong = text.trim() && wanted !== now && !isRight ? t("rates.wrong") : null;
  return html`<${Ask} title=${t("rates.change")} action=${isRight ? t("rates.set", { rate: money(wanted) }) : t("rates.set_nothing")} work=${set} onDone=${done} onClose=${onClose}>
    <${Field} label=${t("rates.new_rate")} value=${text} onInput=${setText} inputmode="decimal" autocomplete="off" error=${wrong} hint=${t("rates.now", { rate: money(now) })} />
    ${isRight ? html`<p class="small">${t("rates.example", { old: money(now === null ? null : Math.floor(now / 2 + 0.5)), cost: money(Math.floor(wanted / 2 + 0.5)) })}</p>` : null}
    <p class="small muted">${t("rates.from_now")}</p><//>`;
}
