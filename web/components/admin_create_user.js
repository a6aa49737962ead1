// @ts-check
/** Create an account for somebody; its one-time password is shown once. */

import { post } from "../core/api.js";
import { useAction } from "../core/data.js";
import { html, useState } from "../core/html.js";
import { named, t } from "../core/texts.js";
import { Dialog } from "./dialog.js";
import { Button, Field } from "./field.js";
import { Failed } from "./states.js";

const ROLES = ["user", "operator", "admin"];

/** @param {{onClose: () => void, onCreated: () => void}} props */
export function CreateUser({ onClose, onCreated }) {
  const [email, setEmail] = useState("");
  const [name, setName] = useState("");
  const [phone, setPhone] = useState("");
  const [role, setRole] = useState("user");
  const [created, setCreated] = useState(/** @type {any} */ (null));
  const deed = useAction((key) => post("/api/admin/users", { email: email.trim(), name: name.trim(), role, ...(phone.trim() ? { phone: phone.trim() } : {}) }, key));
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const answer = await deed.run();
    if (!answer) return;
    setCreated(answer);
    onCreated();
  };
  if (created) return html`<${Created} of=${created} onClose=${onClose} />`;
  const wrong = deed.problem?.fields ?? {};
  return html`<${Dialog} title=${t("users.create.title")} onClose=${onClose}><form class="stack" onSubmit=${send}>
    <${Field} label=${t("fields.email")} type="email" value=${email} onInput=${setEmail} error=${wrong["email"]} autocomplete="off" required maxlength="320" />
    <${Field} label=${t("fields.name")} value=${name} onInput=${setName} error=${wrong["name"]} autocomplete="off" required maxlength="200" />
    <${Field} label=${t("fields.phone_optional")} type="tel" value=${phone} onInput=${setPhone} error=${wrong["phone"]} autocomplete="off" />
    <${Field} label=${t("users.role")} value=${role} onInput=${setRole} hint=${t(`users.role_hints.${role}`)} options=${ROLES.map((one) => [one, named("roles", one)])} />
    <p class="small muted">${t("users.create.password")}</p>
    ${deed.problem ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${deed.isBusy} off=${!email.trim() || !name.trim() ? t("users.create.missing") : null}>${t("users.create.submit", { role: named("roles", role) })}<//>
      <${Button} kind="quiet" onClick=${onClose}>${t("actions.cancel")}<//></div>
  </form><//>`;
}

/** What to hand over; it cannot be seen again. @param {{of: any, onClose: () => void}} props */
function Created({ of, onClose }) {
  const [isCopied, setIsCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(of.one_time_password);
      setIsCopied(true);
    } catch {
      setIsCopied(false); // a browser without it: the text can be selected
    }
  };
  return html`<${Dialog} title=${t("users.create.done")}><div class="stack">
    <p><bdi>${of.name}</bdi> · <bdi>${of.email}</bdi> · ${named("roles", of.role)}</p>
    ${of.one_time_password ? html`<div class="field"><span id="one-time">${t("users.create.one_time")}</span><div class="secret" aria-labelledby="one-time" data-testid="one-time-password">${of.one_time_password}</div></div>
      <p class="small muted">${t("users.create.once")}</p>` : null}
    <div class="row">${of.one_time_password ? html`<${Button} onClick=${copy}>${t(isCopied ? "users.create.copied" : "users.create.copy")}<//>` : null}
      <a class="btn" href=${`/admin/users/${encodeURIComponent(of.id)}`}>${t("users.create.open")}</a><${Button} kind="primary" onClick=${onClose}>${t("users.create.noted")}<//></div>
  </div><//>`;
}
