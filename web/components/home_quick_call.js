// @ts-check
/** A call from the home page: a number, a sentence, its price, one button. */

import { useData } from "../core/data.js";
import { money, paise } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { balance } from "../core/session.js";
import { t } from "../core/texts.js";
import { bodyOf, NEW } from "./call_options.js";
import { typedNumber, usePlacing, useQuote } from "./call_place.js";
import { legsOf, talkTime } from "./call_price.js";
import { Refusal } from "./call_refusal.js";
import { Button, Field } from "./field.js";
import { shownRate } from "./home_balance.js";
import { Icon } from "./icon.js";

const SECONDS = 60;

export function QuickCall() {
  const [to, setTo] = useState("");
  const [message, setMessage] = useState("");
  const rate = useData("/api/wallet/call-rate", {}, {});
  const price = useQuote({ to, seconds: SECONDS });
  const placing = usePlacing();
  const wrong = placing.problem?.fields ?? {};
  const number = typedNumber(to);
  const send = async (/** @type {Event | undefined} */ event = undefined) => {
    event?.preventDefault();
    if (number) await placing.run(bodyOf({ ...NEW, to, message }));
  };
  const more = new URLSearchParams({ ...(to.trim() ? { to: to.trim() } : {}), ...(message.trim() ? { message: message.trim() } : {}) }).toString();
  return html`<section class="card"><header><h2>${t("calls.place")}</h2><span class="small muted">${shownRate(rate.data)}</span></header>
    <form class="body stack" onSubmit=${send}>
      <${Field} label=${t("calls.number")} value=${to} onInput=${setTo} type="tel" autocomplete="off" required placeholder="+91 98765 43210" maxlength="40" hint=${price.quote ? priceInWords(price.quote) : t("home.price_hint")} error=${wrong["to"] ?? undefined} />
      <${Field} label=${t("home.message")} value=${message} onInput=${setMessage} maxlength="1000" dir="auto" placeholder=${t("home.message_example")} error=${wrong["message"]} />
      ${price.problem && !placing.problem ? html`<${Refusal} problem=${price.problem} number=${to.trim()} />` : null}
      ${placing.problem && !wrong["to"] && !wrong["message"] ? html`<${Refusal} problem=${placing.problem} number=${to.trim()} retry=${() => void send()} />` : null}
      <div class="row base"><${Button} type="submit" kind="primary" isBusy=${placing.isBusy} off=${number ? null : t("calls.lacks.number")}><${Icon} name="phone" />${t("calls.call_now")}<//>
        <a class="small" href=${more ? `/calls/new?${more}` : "/calls/new"}>${t("home.more_options")}</a></div>
    </form></section>`;
}

/** '1 min costs ₹10.00. Up to 4 h can be talked with this balance.' */
function priceInWords(/** @type {any} */ quote) {
  const lasts = talkTime(balance.value?.available_paise, legsOf(quote));
  return t("home.price", { cost: money(paise(quote.cost)), lasts });
}
