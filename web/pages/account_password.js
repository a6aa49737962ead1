// @ts-check
/** The password: another one, with the one until now as a proof. */

import { Button } from "../components/field.js";
import { PasswordField } from "../components/password.js";
import { Failed } from "../components/states.js";
import { say } from "../components/toast.js";
import { useWait, waitReason } from "../components/wait.js";
import { post } from "../core/api.js";
import { useAction } from "../core/data.js";
import { html, useState } from "../core/html.js";
import { refresh } from "../core/live.js";
import { me } from "../core/session.js";
import { t } from "../core/texts.js";

/** The form. @param {{onDone: () => void}} props */
export function PasswordForm({ onDone }) {
  const [current, setCurrent] = useState("");
  const [wanted, setWanted] = useState("");
  const deed = useAction(() => post("/api/auth/change-password", { current_password: current, new_password: wanted }));
  const left = useWait(deed.problem);
  const fields = deed.problem?.fields ?? {};
  const isWrong = deed.problem?.code === "invalid_credentials";
  const isTold = isWrong || fields["new_password"] || fields["current_password"];
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if ((await deed.run()) === undefined) return;
    setCurrent("");
    setWanted("");
    onDone();
  };
  return html`<form class="stack" onSubmit=${send}>
    <input class="hidden" type="email" autocomplete="username" aria-label=${t("fields.email")} tabindex="-1" readonly value=${me.value?.email ?? ""} />
    <${PasswordField} label=${t("account.password_now")} autocomplete="current-password" value=${current} onInput=${setCurrent} required error=${isWrong ? t("account.password_wrong") : fields["current_password"]} />
    <${PasswordField} label=${t("account.password_new")} autocomplete="new-password" value=${wanted} onInput=${setWanted} required hint=${t("fields.password_hint")} error=${fields["new_password"]} />
    ${deed.problem && !isTold ? html`<${Failed} problem=${deed.problem} />` : null}
    <div class="row"><${Button} type="submit" isBusy=${deed.isBusy} off=${waitReason(left)}>${t("account.password_change")}<//></div>
  </form>`;
}

export function Password() {
  const done = () => {
    say(t("account.password_done"));
    refresh();
  };
  return html`<section class="card"><header><h2>${t("account.password")}</h2></header><div class="body stack">
    <p class="small muted">${t("account.password_ends")}</p><${PasswordForm} onDone=${done} /></div></section>`;
}
