// @ts-check
/** A new API key: what it is called, what it may do, until when, and what its calls may cost a day. */

import { Dialog } from "../components/dialog.js";
import { Button, Check, Field } from "../components/field.js";
import { Failed } from "../components/states.js";
import { post } from "../core/api.js";
import { useAction } from "../core/data.js";
import { dateInIndia, rupees, typedPaise } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { isStaff } from "../core/session.js";
import { named, t } from "../core/texts.js";

const SCOPES = ["wallet:read", "payments:read", "payments:write", "transactions:read", "calls:read", "calls:write", "campaigns:read", "campaigns:write"];

/** @param {{chosen: string[], onChoose: (chosen: string[]) => void, error: string | undefined}} props */
function Scopes({ chosen, onChoose, error }) {
  const turn = (/** @type {string} */ scope, /** @type {boolean} */ isOn) => onChoose(isOn ? [...chosen, scope] : chosen.filter((one) => one !== scope));
  const all = isStaff.value ? [...SCOPES, "admin:read"] : SCOPES;
  return html`<fieldset class="field"><legend>${t("account.scopes")}</legend>
    <div class="scopes">${all.map((scope) => html`<${Check} key=${scope} isOn=${chosen.includes(scope)} onChange=${(/** @type {boolean} */ isOn) => turn(scope, isOn)}
      label=${html`<span class="mono">${scope}</span><span class="sub xs muted">${named("account.scope", scope.replace(":", "_"))}</span>`} />`)}</div>
    ${error ? html`<span class="error">${error}</span>` : null}</fieldset>`;
}

/** @param {{onDone: (made: any) => void, onClose: () => void}} props */
export function NewKey({ onDone, onClose }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState(/** @type {string[]} */ ([]));
  const [until, setUntil] = useState("");
  const [cap, setCap] = useState("");
  const cap_paise = cap.trim() ? typedPaise(cap) : null;
  const deed = useAction((key) =>
    post("/api/api-keys", {
      name: name.trim(),
      scopes,
      // The whole of that day in India.
      expires_at: until ? `${until}T23:59:59+05:30` : null,
      daily_spend_cap: cap_paise === null ? null : rupees(cap_paise),
    }, key),
  );
  const wrong = deed.problem?.fields ?? {};
  const changed = (/** @type {(value: any) => void} */ set) => (/** @type {any} */ value) => {
    set(value);
    if (deed.problem) deed.clear();
  };
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const made = await deed.run();
    if (made) onDone(made);
  };
  const isCapWrong = cap.trim() !== "" && cap_paise === null;
  const off = scopes.length === 0 ? t("account.scopes_first") : isCapWrong ? t("recharge.type_amount") : null;
  return html`<${Dialog} title=${t("account.key_new")} onClose=${onClose} isWide><form class="stack" onSubmit=${send}>
    <${Field} label=${t("account.key_name")} value=${name} onInput=${changed(setName)} hint=${t("account.key_name_hint")} required maxlength="100" error=${wrong["name"]} />
    <${Scopes} chosen=${scopes} onChoose=${changed(setScopes)} error=${wrong["scopes"]} />
    <div class="form-grid">
      <${Field} label=${t("account.expires")} type="date" value=${until} onInput=${changed(setUntil)} min=${dateInIndia()} hint=${t("account.expires_hint")} error=${wrong["expires_at"]} />
      <${Field} label=${t("account.daily_cap")} value=${cap} onInput=${changed(setCap)} inputmode="decimal" hint=${t("account.daily_cap_hint")} error=${isCapWrong ? t("recharge.type_amount") : wrong["daily_spend_cap"]} />
    </div>
    ${deed.problem && Object.keys(wrong).length === 0 ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${deed.isBusy} off=${off}>${t("account.key_create")}<//></div>
  </form><//>`;
}
