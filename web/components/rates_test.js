// @ts-check
/** A quote: what a call to a number costs now, by the code that charges. */

import { post } from "../core/api.js";
import { useAction } from "../core/data.js";
import { money, paise } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { Button, Field } from "./field.js";
import { Failed } from "./states.js";
import { Facts } from "./table.js";

export function RateTest() {
  const [to, setTo] = useState("");
  const [seconds, setSeconds] = useState("60");
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [isShort, setIsShort] = useState(false);
  const ask = useAction(() => post("/api/calls/quote", { to: to.trim(), duration_seconds: Number(seconds) }));
  const isTime = /^\d{1,5}$/.test(seconds) && Number(seconds) <= 86_400;
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setFound(null);
    if (!to.trim() || !isTime) return void setIsShort(true);
    const answer = await ask.run();
    if (answer) setFound(answer);
  };
  return html`<section class="card"><header><h2>${t("rates.test")}</h2></header><form class="body stack" onSubmit=${send}>
    <${Field} label=${t("rates.number")} value=${to} onInput=${setTo} placeholder="+91 98765 43210" autocomplete="off" inputmode="tel" error=${isShort && !to.trim() ? t("rates.type_number") : ask.problem?.fields["to"]} />
    <${Field} label=${t("rates.talked")} value=${seconds} onInput=${setSeconds} inputmode="numeric" autocomplete="off" error=${isTime ? null : t("rates.type_seconds")} />
    <div class="row"><${Button} type="submit" isBusy=${ask.isBusy}>${t("rates.quote")}<//></div>
    ${ask.problem && !ask.problem.fields["to"] ? html`<${Failed} problem=${ask.problem} />` : null}
    ${found ? html`<div aria-live="polite" class="stack tight"><div class="row spread"><strong class="money">${money(paise(found.cost))}</strong><span class="small muted">${named("rates.sources", found.rate_source)}</span></div>
      <p class="small">${found.explanation.replaceAll("Rs ", "₹")}</p>
      <${Facts} rows=${[[t("rates.price"), t("rates.a_minute", { rate: money(paise(found.rate_per_minute)) })], [t("rates.prefix"), found.rate_prefix ? `${found.rate_prefix}, ${t("rates.version", { version: found.rate_card_version })}` : "—"]]} /></div>` : null}
  </form></section>`;
}
