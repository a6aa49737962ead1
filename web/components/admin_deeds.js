// @ts-check
/** What an admin does about one user: each deed asks first, says what follows, and keeps its reason where there is one. */

import { post, request } from "../core/api.js";
import { html, useState } from "../core/html.js";
import { me } from "../core/session.js";
import { named, t } from "../core/texts.js";
import { Adjust } from "./admin_adjust.js";
import { SetLimits, SetRate } from "./admin_limits.js";
import { Ask } from "./dialog.js";
import { Button, Chips } from "./field.js";
import { say } from "./toast.js";

const ROLES = ["user", "operator", "admin"];

/** The deeds that ask and nothing more: whether they keep a reason, and what they send. @type {Record<string, {kind?: string, needsReason?: boolean, send: (user: any, reason: string) => Promise<any>}>} */
const ASKED = {
  freeze: { kind: "danger", needsReason: true, send: (user, reason) => post(`${path(user)}/freeze`, { reason }) },
  unfreeze: { needsReason: true, send: (user, reason) => post(`${path(user)}/unfreeze`, { reason }) },
  disable: { kind: "danger", send: (user) => request("PATCH", path(user), { body: { disabled: true } }) },
  enable: { send: (user) => request("PATCH", path(user), { body: { disabled: false } }) },
  sessions: { kind: "danger", send: (user) => request("DELETE", `${path(user)}/sessions`) },
  factor: { kind: "danger", send: (user) => request("DELETE", `${path(user)}/totp`) },
};

const path = (/** @type {any} */ user) => `/api/admin/users/${encodeURIComponent(user.id)}`;

/** Why a deed cannot be done to this user now; null when it can. */
function offFor(/** @type {string} */ deed, /** @type {any} */ user) {
  const isOwn = user.id === me.value?.id;
  if (isOwn && ["adjust", "role", "disable", "factor"].includes(deed)) return t("users.deeds.not_own");
  if (deed === "unfreeze" && user.disabled) return t("users.deeds.frozen_by_disabling");
  if (deed === "factor" && !user.second_factor) return t("users.deeds.no_factor");
  if (deed === "sessions" && !user.sessions.length) return t("users.deeds.no_sessions");
  return null;
}

/** @param {{user: any, onClose: () => void, onDone: () => void}} props */
function SetRole({ user, onClose, onDone }) {
  const [role, setRole] = useState(user.role);
  const isSame = role === user.role;
  return html`<${Ask} title=${t("users.deeds.role")} action=${isSame ? t("users.deeds.role_same") : t("users.deeds.role_do", { role: named("roles", role) })}
    work=${() => request("PATCH", path(user), { body: { role } })} onClose=${onClose}
    onDone=${() => { say(t("users.deeds.role_done", { role: named("roles", role) })); onDone(); onClose(); }}>
    <${Chips} label=${t("users.role")} value=${role} onChoose=${setRole} options=${ROLES.map((one) => [one, named("roles", one)])} />
    <p class="small">${t(`users.role_hints.${role}`)}</p><//>`;
}

/** @param {{user: any, deed: string, onClose: () => void, onDone: () => void}} props */
function Asked({ user, deed, onClose, onDone }) {
  const of = /** @type {(typeof ASKED)[string]} */ (ASKED[deed]);
  return html`<${Ask} title=${t(`users.deeds.${deed}`)} action=${t(`users.deeds.${deed}_do`)} kind=${of.kind ?? "primary"} needsReason=${of.needsReason ?? false}
    work=${(/** @type {string} */ _, /** @type {string} */ reason) => of.send(user, reason)} onClose=${onClose}
    onDone=${() => { say(t(`users.deeds.${deed}_done`)); onDone(); onClose(); }}>
    <p><bdi><strong>${user.name || user.email}</strong></bdi></p><p>${t(`users.deeds.${deed}_what`)}</p><//>`;
}

/** @param {{deed: string, user: any, onClose: () => void, onDone: () => void}} props */
export function Deed({ deed, ...more }) {
  if (deed === "adjust") return html`<${Adjust} ...${more} />`;
  if (deed === "limits") return html`<${SetLimits} ...${more} />`;
  if (deed === "rate") return html`<${SetRate} ...${more} />`;
  if (deed === "role") return html`<${SetRole} ...${more} />`;
  return html`<${Asked} deed=${deed} ...${more} />`;
}

/** A button of each deed that this user can have done to them. @param {{user: any, deeds: string[], onChoose: (deed: string) => void}} props */
export function Deeds({ user, deeds, onChoose }) {
  return deeds.map((deed) => html`<${Button} key=${deed} kind=${ASKED[deed]?.kind ?? ""} off=${offFor(deed, user)} onClick=${() => onChoose(deed)}>${t(`users.deeds.${deed}`)} …<//>`);
}

/** @param {{user: any, onChoose: (deed: string) => void}} props */
export function AdjustButton({ user, onChoose }) {
  return html`<${Button} kind="primary" off=${offFor("adjust", user)} onClick=${() => onChoose("adjust")}>${t("users.deeds.adjust")}<//>`;
}
