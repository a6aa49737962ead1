// @ts-check
/** Network: whether calls and payments get through now, since when not, and what ends it. From what is recorded. */

import { Icon } from "../../components/icon.js";
import { Page } from "../../components/shell.js";
import { Shown, Tag } from "../../components/states.js";
import { Facts, Figure } from "../../components/table.js";
import { useData } from "../../core/data.js";
import { count, duration, time } from "../../core/format.js";
import { html } from "../../core/html.js";
import { named, t } from "../../core/texts.js";

const AGAIN_MS = 3_000;
/** @type {Record<string, string>} */
const KINDS = { accepting: "ok", resting: "bad", trying: "warn", answering: "ok" };
/** Reasons that end when somebody puts the account in order. */
const OF_THE_ACCOUNT = ["provider_credentials_refused", "provider_account_suspended", "provider_misconfigured", "provider_country_not_enabled"];
const TALKING = "in_progress";

const sum = (/** @type {Record<string, number>} */ counts) => Object.values(counts).reduce((all, one) => all + one, 0);

export default function NetworkPage() {
  const of = useData("/api/admin/networks", {}, { every_ms: AGAIN_MS });
  return html`<${Page} title=${t("nav.network")} page=${html`<${Shown} of=${of} lines=${6}>${(/** @type {any} */ found) => html`
    <${Now} found=${found} />
    ${found.networks.map((/** @type {any} */ one) => html`<${Network} key=${one.name} of=${one} />`)}
    <${Razorpay} of=${found.razorpay} />
    <p class="small muted">${t("network.recorded")}</p>`}<//>`} />`;
}

/** @param {{found: any}} props */
function Now({ found }) {
  const all = found.networks;
  const live = all.reduce((/** @type {number} */ so_far, /** @type {any} */ one) => so_far + sum(one.live_calls), 0);
  const talking = all.reduce((/** @type {number} */ so_far, /** @type {any} */ one) => so_far + (one.live_calls[TALKING] ?? 0), 0);
  const placed = all.reduce((/** @type {number} */ so_far, /** @type {any} */ one) => so_far + one.placed, 0);
  return html`<div class="grid g4">
    <${Figure} title=${t("network.live")} value=${count(live)}><a href="/calls?status=in_progress">${t("network.talking", { count: count(talking) })}</a><//>
    <${Figure} title=${t("network.rate")} value=${count(Math.round((placed / 60) * 10) / 10)}>${t("network.placed", { count: count(placed) })}<//>
    <${Figure} title=${t("network.per_user")} value=${count(found.calls_per_user)}>${t("network.per_user_hint")}<//>
    <${Figure} title=${t("network.breakers")} value=${count(all.filter((/** @type {any} */ one) => one.state !== "accepting").length + (found.razorpay.state === "answering" ? 0 : 1))}>${t("network.breakers_hint")}<//>
  </div>`;
}

/** What is wrong, since when, and what ends it. @param {{of: any}} props */
function Trouble({ of }) {
  if (of.state === "accepting") return null;
  return html`<div class=${`notice ${of.state === "resting" ? "bad" : ""}`} role="status"><${Icon} name="warn" /><div>
    <strong>${named("network.reasons", of.reason)}</strong>
    <span class="sub small">${t("network.since", { when: time(of.since, { seconds: true }) })} ${of.state === "resting" ? t("network.until", { when: time(of.until, { seconds: true }) }) : t("network.trying")}</span>
    <span class="sub small">${t(OF_THE_ACCOUNT.includes(of.reason) ? "network.ends_by_you" : "network.ends_by_itself")}</span></div></div>`;
}

/** So many of at most so many, as a bar with words. @param {{title: string, value: number, most: number | null, of: string}} props */
function Used({ title, value, most, of }) {
  return html`<div class="stack tight"><div class="row spread"><span>${title}</span><strong class="num">${of}</strong></div>
    ${most === null ? html`<span class="xs muted">${t("network.no_limit")}</span>` : html`<meter class="whole" min="0" max=${most} value=${Math.min(value, most)} high=${most * 0.9} aria-label=${title}></meter>`}</div>`;
}

/** @param {{of: any}} props */
function Network({ of }) {
  const live = sum(of.live_calls);
  const a_second = Math.round((of.placed / 60) * 10) / 10;
  return html`<section class="card"><header><h2>${named("network.names", of.name)}</h2><span class="row tight">${of.chosen ? html`<${Tag}>${t("network.chosen")}<//>` : null}<${Tag} kind=${KINDS[of.state] ?? ""}>${named("network.states", of.state)}<//></span></header>
    <div class="body stack"><${Trouble} of=${of} />
      <div class="grid halves">
        <${Used} title=${t("network.a_second")} value=${a_second} most=${of.calls_per_second} of=${of.calls_per_second === null ? count(a_second) : t("network.of", { value: count(a_second), most: count(of.calls_per_second) })} />
        <${Used} title=${t("network.at_once")} value=${live} most=${of.calls_at_once} of=${of.calls_at_once === null ? count(live) : t("network.of", { value: count(live), most: count(of.calls_at_once) })} />
      </div>
      <${Facts} rows=${[
        ...Object.entries(of.live_calls).map(([status, many]) => [named("users.call_states", status), html`<span class="num">${count(/** @type {number} */ (many))}</span>`]),
        [t("network.failures"), html`<span class="num">${count(of.failures)}</span>`],
      ]} /></div></section>`;
}

/** @param {{of: any}} props */
function Razorpay({ of }) {
  const isResting = of.state !== "answering";
  return html`<section class="card"><header><h2>Razorpay</h2><span class="row tight"><${Tag}>${named("network.modes", of.mode)}<//><${Tag} kind=${isResting ? "bad" : "ok"}>${t(isResting ? "network.states.failing" : "network.states.answering")}<//></span></header>
    <div class="body stack">${isResting ? html`<div class="notice bad" role="status"><${Icon} name="warn" /><div><strong>${t("network.razorpay_rests")}</strong><span class="sub small">${t("network.razorpay_again", { wait: duration(of.retry_after_seconds) })}</span></div></div>` : html`<p class="small muted">${t("network.razorpay_answers")}</p>`}
      <${Facts} rows=${[
        [t("network.requests"), of.requests_per_second === null ? t("network.no_limit") : html`<span class="num">${t("network.a_second_most", { most: count(of.requests_per_second) })}</span>`],
        [t("network.processes"), html`<span class="num">${count(of.processes)}</span>`],
      ]} /></div></section>`;
}
