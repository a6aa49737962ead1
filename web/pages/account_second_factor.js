// @ts-check
/** The second factor: a code of an app beside the password; set up, and removed with a proof. */

import { Copy } from "../components/copy.js";
import { Dialog } from "../components/dialog.js";
import { Button, Field } from "../components/field.js";
import { PasswordField } from "../components/password.js";
import { QrCode } from "../components/qr.js";
import { Failed, Tag } from "../components/states.js";
import { say } from "../components/toast.js";
import { useWait, waitReason } from "../components/wait.js";
import { post, request } from "../core/api.js";
import { useAction } from "../core/data.js";
import { html, useState } from "../core/html.js";
import { refresh } from "../core/live.js";
import { loadMe, me } from "../core/session.js";
import { t } from "../core/texts.js";

const groups = (/** @type {string} */ text) => (text.match(/.{1,4}/g) ?? []).join(" ");

/** Setting it up: the secret, a code as a proof, the recovery codes once. @param {{onDone: () => void}} props */
export function SetUp({ onDone }) {
  const [started, setStarted] = useState(/** @type {any} */ (null));
  const [code, setCode] = useState("");
  const [codes, setCodes] = useState(/** @type {string[] | null} */ (null));
  const [isKept, setIsKept] = useState(false);
  const begin = useAction(() => post("/api/auth/totp"));
  const confirm = useAction(() => post("/api/auth/totp/confirm", { code: code.replace(/\s/g, "") }));
  const left = useWait(confirm.problem);
  const start = async () => setStarted((await begin.run()) ?? null);
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const confirmed = await confirm.run();
    if (confirmed) setCodes(confirmed.recovery_codes);
    else setCode("");
  };
  if (codes) return html`<${RecoveryCodes} codes=${codes} isKept=${isKept} onKeep=${setIsKept} onDone=${onDone} />`;
  if (!started) {
    return html`<div class="stack"><p class="small">${t("account.totp_about")}</p>${begin.problem ? html`<${Failed} problem=${begin.problem} />` : null}
      <div class="row"><${Button} kind="primary" isBusy=${begin.isBusy} onClick=${() => void start()}>${t("account.totp_start")}<//></div></div>`;
  }
  const wrong = confirm.problem?.status === 422 ? t("problems.second_factor_required") : null;
  return html`<form class="stack" onSubmit=${send}>
    <ol class="numbered">
      <li><p>${t("account.totp_scan")}</p><${QrCode} text=${started.otpauth_uri} label=${t("account.totp_qr")} />
        <p class="small"><a href=${started.otpauth_uri} data-plain>${t("account.totp_open")}</a> ${t("account.totp_type")}</p><${Copy} text=${groups(started.secret)} label=${t("account.totp_secret")} /></li>
      <li><${Field} label=${t("account.totp_code")} value=${code} onInput=${setCode} inputmode="numeric" autocomplete="one-time-code" required error=${wrong} /></li>
    </ol>
    ${confirm.problem && !wrong ? html`<${Failed} problem=${confirm.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="primary" isBusy=${confirm.isBusy} off=${waitReason(left)}>${t("account.totp_confirm")}<//></div>
  </form>`;
}

/** @param {{codes: string[], isKept: boolean, onKeep: (isKept: boolean) => void, onDone: () => void}} props */
function RecoveryCodes({ codes, isKept, onKeep, onDone }) {
  return html`<div class="stack">
    <p class="notice ok" role="status"><strong>${t("account.totp_on_now")}</strong></p>
    <p class="small">${t("account.codes_about")}</p>
    <${Copy} text=${codes.join("\n")} label=${t("account.codes")} />
    <label class="check"><input type="checkbox" checked=${isKept} onChange=${(/** @type {any} */ event) => onKeep(event.currentTarget.checked)} /><span>${t("account.codes_kept")}</span></label>
    <div class="row"><${Button} kind="primary" off=${isKept ? null : t("account.codes_first")} onClick=${onDone}>${t("account.done")}<//></div>
  </div>`;
}

/** @param {{onClose: () => void}} props */
function Remove({ onClose }) {
  const [kind, setKind] = useState("code");
  const [proof, setProof] = useState("");
  const deed = useAction(() => request("DELETE", "/api/auth/totp", { body: kind === "code" ? { code: proof.trim() } : { password: proof } }));
  const left = useWait(deed.problem);
  const isWrong = deed.problem?.code === "invalid_credentials" || deed.problem?.code === "second_factor_required";
  const wrong = isWrong ? t(kind === "code" ? "problems.second_factor_required" : "account.password_wrong") : null;
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if ((await deed.run()) === undefined) return;
    say(t("account.totp_removed"));
    void loadMe();
    onClose();
  };
  const turn = () => {
    setKind(kind === "code" ? "password" : "code");
    setProof("");
    deed.clear();
  };
  return html`<${Dialog} title=${t("account.totp_remove")} onClose=${onClose}><form class="stack" onSubmit=${send}>
    <p class="small">${t("account.totp_remove_about")}</p>
    ${kind === "code"
      ? html`<${Field} key="code" label=${t("fields.totp")} hint=${t("fields.totp_hint")} value=${proof} onInput=${setProof} autocomplete="one-time-code" required error=${wrong} />`
      : html`<${PasswordField} key="password" label=${t("fields.password")} value=${proof} onInput=${setProof} autocomplete="current-password" required error=${wrong} />`}
    ${deed.problem && !wrong ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" kind="danger" isBusy=${deed.isBusy} off=${waitReason(left)}>${t("account.totp_remove")}<//>
      <button class="btn quiet" type="button" onClick=${turn}>${t(kind === "code" ? "account.with_password" : "account.with_code")}</button></div>
  </form><//>`;
}

export function SecondFactor() {
  const [open, setOpen] = useState("");
  const isOn = me.value.second_factor;
  const done = () => {
    setOpen("");
    void loadMe();
    refresh();
  };
  return html`<section class="card"><header><h2>${t("account.totp")}</h2><${Tag} kind=${isOn ? "ok" : "warn"}>${t(isOn ? "account.totp_on" : "account.totp_off")}<//></header><div class="body stack">
    <p class="small muted">${t(isOn ? "account.totp_on_about" : "account.totp_off_about")}</p>
    <div class="row">${isOn
      ? html`<button class="btn danger" type="button" onClick=${() => setOpen("remove")}>${t("account.totp_remove")}</button>`
      : html`<button class="btn" type="button" onClick=${() => setOpen("start")}>${t("account.totp_start")}</button>`}</div>
    ${open === "start" ? html`<${Dialog} title=${t("account.totp_start")} onClose=${done}><${SetUp} onDone=${done} /><//>` : null}
    ${open === "remove" ? html`<${Remove} onClose=${() => setOpen("")} />` : null}
  </div></section>`;
}
