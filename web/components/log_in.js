// @ts-check
/** Logging in: password, then the second factor where there is one; also over a page whose session ended. */

import { Problem } from "../core/api.js";
import { useAction } from "../core/data.js";
import { html, useState } from "../core/html.js";
import { refresh } from "../core/live.js";
import { begin, forget, logIn, me } from "../core/session.js";
import { t } from "../core/texts.js";
import { Dialog } from "./dialog.js";
import { Button, Field } from "./field.js";
import { PasswordField } from "./password.js";
import { Failed } from "./states.js";
import { useWait, waitReason } from "./wait.js";

/** The form. @param {{email?: string, onDone: (admission: any) => void}} props `email`: this account and no other */
export function LogInForm({ email: fixed, onDone }) {
  const [email, setEmail] = useState(fixed ?? "");
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const [needsCode, setNeedsCode] = useState(false);
  const deed = useAction(async () => {
    try {
      return await logIn(email.trim(), password, needsCode ? code.trim() : undefined);
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.code !== "second_factor_required" || needsCode) throw problem;
      setNeedsCode(true);
      return null;
    }
  });
  const left = useWait(deed.problem);
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (left > 0) return;
    const admission = await deed.run();
    if (!admission) return;
    await begin(admission);
    onDone(admission);
  };
  return html`<form class="stack" onSubmit=${send}>
    <${Field} label=${t("fields.email")} type="email" autocomplete="username" value=${email} onInput=${setEmail} required readonly=${fixed !== undefined} />
    <${PasswordField} label=${t("fields.password")} autocomplete="current-password" value=${password} onInput=${setPassword} required autofocus=${fixed !== undefined} />
    ${needsCode ? html`<${Field} label=${t("fields.totp")} hint=${t("fields.totp_hint")} autocomplete="one-time-code" autocapitalize="off" spellcheck="false" value=${code} onInput=${setCode} required autofocus />` : null}
    ${deed.problem ? html`<${Failed} problem=${deed.problem} />` : null}
    <${Button} type="submit" kind="primary" isBusy=${deed.isBusy} off=${waitReason(left)}>${t("actions.log_in")}<//>
  </form>`;
}

/** Over the page whose session has ended, so that nothing typed is lost. */
export function LogInAgain() {
  const email = me.value?.email;
  return html`<${Dialog} title=${t("log_in.expired")}>
    <p class="small muted">${t("log_in.expired_why")}</p>
    <${LogInForm} email=${email} onDone=${refresh} />
    <button class="btn quiet" type="button" onClick=${forget}>${t("log_in.other_account")}</button>
  <//>`;
}

