// @ts-check
/** One user's whole story: what is in the wallet, who they are, what they did, what was done; and what an admin can do. */

import { ByHand } from "../../components/admin_by_hand.js";
import { AdjustButton, Deed, Deeds } from "../../components/admin_deeds.js";
import { Latest } from "../../components/admin_latest.js";
import { Limits, ownRate } from "../../components/admin_limits.js";
import { Waiting } from "../../components/admin_waiting.js";
import { Icon } from "../../components/icon.js";
import { BalanceParts } from "../../components/money.js";
import { Page } from "../../components/shell.js";
import { Empty, Shown, Tag } from "../../components/states.js";
import { Facts, Table } from "../../components/table.js";
import { useData } from "../../core/data.js";
import { count, day, money, paise, phone, shownRupees, time } from "../../core/format.js";
import { html, useState } from "../../core/html.js";
import { isAdmin } from "../../core/session.js";
import { named, t } from "../../core/texts.js";

/** @param {{id: string}} props */
export default function UserPage({ id }) {
  const of = useData(`/api/admin/users/${encodeURIComponent(id)}`, {}, { live: ["balance"], matches: (told) => told.user_id === id });
  const [deed, setDeed] = useState("");
  const [turn, setTurn] = useState(0);
  const user = of.data;
  const done = () => {
    of.reload();
    setTurn(turn + 1);
  };
  return html`<${Page} title=${user ? user.name || user.email : t("users.user")} page=${html`
    <p class="small"><a href="/admin/users">${t("nav.users")}</a> <span class="muted">/</span> <span class="mono">${id}</span></p>
    <${Shown} of=${of} lines=${8}>${(/** @type {any} */ found) => html`
      <${State} user=${found} />
      <div class="grid g2"><${Wallet} user=${found} onChoose=${setDeed} /><${About} user=${found} onChoose=${setDeed} /></div>
      <${Waiting} key=${`w${turn}`} userId=${id} onDone=${done} hidesEmpty />
      <div class="grid halves"><${Latest} key=${`t${turn}`} kind="transactions" userId=${id} /><${Latest} kind="calls" userId=${id} total=${found.counts.calls} /></div>
      <div class="grid halves"><${Latest} kind="campaigns" userId=${id} total=${found.counts.campaigns} /><${Latest} kind="orders" userId=${id} total=${found.counts.orders} /></div>
      <div class="grid halves"><${LimitsCard} user=${found} onChoose=${setDeed} /><${Latest} kind="complaints" userId=${id} /></div>
      <${Sessions} user=${found} onChoose=${setDeed} />
      <${ByHand} key=${`h${turn}`} userId=${id} />
      ${deed && isAdmin.value ? html`<${Deed} deed=${deed} user=${found} onClose=${() => setDeed("")} onDone=${done} />` : null}`}<//>`}>
    ${user && isAdmin.value ? html`<${AdjustButton} user=${user} onChoose=${setDeed} />` : null}<//>`;
}

/** What must not be missed about this account, and what ends it. @param {{user: any}} props */
function State({ user }) {
  const frozen = user.adjustments.find((/** @type {any} */ one) => one.action === "freeze");
  const notices = [];
  if (user.disabled) notices.push(["disabled", "bad", t("users.is_disabled", { when: time(user.disabled_at) }), ""]);
  else if (user.frozen) notices.push(["frozen", "bad", t("users.is_frozen"), frozen ? t("users.frozen_why", { reason: frozen.reason, when: time(frozen.at) }) : ""]);
  if (user.due > 0) notices.push(["due", "", t("users.is_due", { due: shownRupees(user.due) }), ""]);
  if (user.password_change_required) notices.push(["password", "", t("users.is_new"), ""]);
  return notices.map(([key, kind, text, why]) => html`<div key=${key} class=${`notice ${kind}`} role="status"><${Icon} name="warn" /><div><strong>${text}</strong>${why ? html`<span class="sub small"><bdi>${why}</bdi></span>` : null}</div></div>`);
}

/** @param {{user: any, onChoose: (deed: string) => void}} props */
function Wallet({ user, onChoose }) {
  const parts = { balance_paise: paise(user.balance) ?? 0, held_paise: paise(user.held) ?? 0, available_paise: paise(user.available) ?? 0, due_paise: paise(user.due) ?? 0 };
  return html`<section class="card balance"><div class="body stack"><div><h2 class="muted">${t("balance.available")}</h2>
      <div class="figure money">${money(parts.available_paise)}</div>
      ${user.low_balance && user.role === "user" ? html`<${Tag} kind="warn">${t("users.low")}<//>` : null}</div>
    <${BalanceParts} balance=${parts} />
    <p class="small muted">${t("users.counts", { refunds: count(user.counts.refunds), disputes: count(user.counts.disputes) })} <a href="/admin/books">${t("nav.books")}</a></p>
    ${isAdmin.value ? html`<div class="row"><${Deeds} user=${user} deeds=${[user.frozen ? "unfreeze" : "freeze", "rate"]} onChoose=${onChoose} /></div>` : null}</div></section>`;
}

/** @param {{user: any, onChoose: (deed: string) => void}} props */
function About({ user, onChoose }) {
  return html`<section class="card"><header><h2>${t("users.about")}</h2><${Tag}>${named("roles", user.role)}<//></header><div class="body stack">
    <${Facts} rows=${[
      [t("fields.email"), html`<bdi>${user.email}</bdi>`],
      [t("users.phone"), user.phone ? html`<a class="num" href=${`/numbers/${encodeURIComponent(user.phone)}`}>${phone(user.phone)}</a>` : "—"],
      [t("users.since"), day(user.created_at)],
      [t("users.own_rate"), ownRate(user)],
      [t("users.second_factor"), t(user.second_factor ? "users.has_factor" : "users.has_no_factor")],
      [t("users.account"), user.disabled ? t("users.disabled") : t("users.enabled")],
    ]} />
    ${isAdmin.value ? html`<div class="row"><${Deeds} user=${user} deeds=${["role", user.disabled ? "enable" : "disable", ...(user.second_factor ? ["factor"] : [])]} onChoose=${onChoose} /></div>` : null}</div></section>`;
}

/** @param {{user: any, onChoose: (deed: string) => void}} props */
function LimitsCard({ user, onChoose }) {
  return html`<section class="card"><header><h2>${t("users.limits.title")}</h2>${isAdmin.value ? html`<${Deeds} user=${user} deeds=${["limits"]} onChoose=${onChoose} />` : null}</header><${Limits} user=${user} /></section>`;
}

/** @param {{user: any, onChoose: (deed: string) => void}} props */
function Sessions({ user, onChoose }) {
  const columns = [
    { title: t("users.sessions.device"), show: (/** @type {any} */ row) => html`<bdi>${row.device ?? t("users.sessions.unknown")}</bdi>` },
    { title: t("users.sessions.address"), isMinor: true, show: (/** @type {any} */ row) => html`<span class="mono">${row.address ?? "—"}</span>` },
    { title: t("users.sessions.began"), isMinor: true, show: (/** @type {any} */ row) => time(row.created_at) },
    { title: t("users.sessions.used"), show: (/** @type {any} */ row) => time(row.last_used_at) },
    { title: t("users.sessions.ends"), isMinor: true, show: (/** @type {any} */ row) => time(row.expires_at) },
  ];
  return html`<section class="card"><header><h2>${t("users.sessions.title")}</h2>${isAdmin.value && user.sessions.length ? html`<${Deeds} user=${user} deeds=${["sessions"]} onChoose=${onChoose} />` : null}</header>
    ${user.sessions.length ? html`<${Table} caption=${t("users.sessions.title")} columns=${columns} rows=${user.sessions} id=${(/** @type {any} */ row) => row.session_id} />` : html`<${Empty} icon="key" title=${t("users.sessions.none")} />`}</section>`;
}
