// @ts-check
/** A new call: to whom, what is said, what it costs before it is placed. */

import { bodyOf, KeyFields, lacks, MessageFields, NEW, SimulateFields } from "../components/call_options.js";
import { typedNumber, usePlacing, useQuote } from "../components/call_place.js";
import { PriceCard } from "../components/call_price_card.js";
import { Refusal } from "../components/call_refusal.js";
import { Button, Chips, Field } from "../components/field.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/shell.js";
import { Empty } from "../components/states.js";
import { html, useState } from "../core/html.js";
import { query } from "../core/router.js";
import { role } from "../core/session.js";
import { named, t } from "../core/texts.js";

const KINDS = ["message", "audio", "connect", "none"];

/** What the address says about the call: the number, and the one it is connected to. */
function given() {
  const asked = query.value;
  const connect_to = asked.get("connect_to") ?? "";
  return { ...NEW, to: asked.get("to") ?? "", message: asked.get("message") ?? "", connect_to, kind: connect_to ? "connect" : "message" };
}

export default function NewCallPage() {
  if (role.value === "operator") return html`<${Page} title=${t("calls.new")} page=${html`<section class="card"><${Empty} icon="phone" title=${t("calls.not_for_operators")}><a class="btn" href="/calls">${t("nav.calls")}</a><//></section>`} />`;
  return html`<${Page} title=${t("calls.new")} page=${html`<${Form} />`} />`;
}

function Form() {
  const [draft, setDraft] = useState(given);
  const [seconds, setSeconds] = useState(60);
  const change = (/** @type {Partial<typeof NEW>} */ changes) => setDraft((/** @type {typeof NEW} */ before) => ({ ...before, ...changes }));
  const isConnected = draft.kind === "connect";
  const price = useQuote({ to: draft.to, connect_to: isConnected ? draft.connect_to : "", seconds });
  const placing = usePlacing();
  const wrong = placing.problem?.fields ?? {};
  const isRefused = price.problem !== null && !price.problem.isUnknown && price.problem.status !== 429;
  const off = lacks(draft, typedNumber(draft.to) !== null, typedNumber(draft.connect_to) !== null) ?? (isRefused ? t("calls.lacks.possible") : null);
  const send = async (/** @type {Event | undefined} */ event = undefined) => {
    event?.preventDefault();
    if (!off) await placing.run(bodyOf(draft));
  };
  const shown = Object.keys(wrong).some((name) => KNOWN.has(name));
  return html`<form class="grid g2" onSubmit=${send}>
    <section class="card"><div class="body stack">
      <${Field} label=${t("calls.number")} value=${draft.to} onInput=${(/** @type {string} */ to) => change({ to })} type="tel" autocomplete="off" required placeholder="+91 98765 43210" maxlength="40" hint=${t("calls.number_hint")} error=${wrong["to"]} />
      <div class="field"><span class="label">${t("calls.what_happens")}</span><${Chips} label=${t("calls.what_happens")} value=${draft.kind} options=${KINDS.map((one) => [one, named("calls.kinds", one)])} onChoose=${(/** @type {string} */ kind) => change({ kind })} /></div>
      <${Content} draft=${draft} change=${change} wrong=${wrong} />
      ${isConnected ? null : html`<${KeyFields} draft=${draft} change=${change} wrong=${wrong} />`}
      <div class="form-grid">
        <${Field} label=${t("calls.machine_detection")} value=${draft.machine} options=${[["", t("calls.machines.none")], ["report", t("calls.machines.report")], ["hang_up", t("calls.machines.hang_up")]]} onInput=${(/** @type {string} */ machine) => change({ machine })} error=${wrong["machine_detection"]} />
        <${Field} label=${t("calls.max_minutes")} value=${draft.minutes} inputmode="decimal" onInput=${(/** @type {string} */ minutes) => change({ minutes })} hint=${t("calls.max_minutes_hint")} autocomplete="off" error=${wrong["max_duration_seconds"]} />
      </div>
      <${SimulateFields} draft=${draft} change=${change} wrong=${wrong} />
    </div></section>
    <div class="stack sticky"><${PriceCard} of=${price} number=${draft.to.trim()} seconds=${seconds} onSeconds=${setSeconds} longest=${Number(draft.minutes) > 0 ? Math.round(Number(draft.minutes) * 60) : null} />
      ${placing.problem && !shown ? html`<${Refusal} problem=${placing.problem} number=${draft.to.trim()} retry=${() => void send()} />` : null}
      <div class="row"><${Button} type="submit" kind="primary" isBusy=${placing.isBusy} off=${off}><${Icon} name="phone" />${t(isConnected ? "calls.call_both" : "calls.call_now")}<//></div>
      <p class="xs muted">${t("calls.what_follows")}</p></div>
  </form>`;
}
const KNOWN = new Set(["to", "message", "audio_url", "connect_to", "language", "voice", "keys", "machine_detection", "max_duration_seconds", "simulate.wall_seconds", "simulate.duration_seconds"]);

/** @param {{draft: typeof NEW, change: (changes: Partial<typeof NEW>) => void, wrong: Record<string, string>}} props */
function Content({ draft, change, wrong }) {
  if (draft.kind === "message") return html`<${MessageFields} draft=${draft} change=${change} wrong=${wrong} />`;
  if (draft.kind === "audio") return html`<${Field} label=${t("calls.audio")} type="url" value=${draft.audio_url} onInput=${(/** @type {string} */ audio_url) => change({ audio_url })} placeholder="https://example.com/hello.mp3" maxlength="2048" hint=${t("calls.audio_hint")} error=${wrong["audio_url"]} />`;
  if (draft.kind === "connect") return html`<${Field} label=${t("calls.connect_to")} type="tel" value=${draft.connect_to} onInput=${(/** @type {string} */ connect_to) => change({ connect_to })} placeholder="+91 22 4000 1234" maxlength="40" hint=${t("calls.connect_hint")} error=${wrong["connect_to"]} />`;
  return html`<p class="small muted">${t("calls.silent")}</p>`;
}
