// @ts-check
/** The door: a new account, with a wallet of Rs 0. */

import { Button, Field } from "../components/field.js";
import { PasswordField } from "../components/password.js";
import { Failed } from "../components/states.js";
import { useWait, waitReason } from "../components/wait.js";
import { post } from "../core/api.js";
import { useAction } from "../core/data.js";
import { html, useState } from "../core/html.js";
import { query } from "../core/router.js";
import { begin } from "../core/session.js";
import { t } from "../core/texts.js";
import { Door } from "./log_in.js";

export default function SignUpPage() {
  const [name, setName] = useState("");
  const [email, setEmail] = useState("");
  const [phone, setPhone] = useState("");
  const [password, setPassword] = useState("");
  const deed = useAction(() =>
    post("/api/auth/signup", { name: name.trim(), email: email.trim(), password, session: "cookie", ...(phone.trim() ? { phone: phone.trim() } : {}) }),
  );
  const left = useWait(deed.problem);
  const next = query.value.get("next");
  const logIn = next ? `/login?next=${encodeURIComponent(next)}` : "/login";
  const wrong = deed.problem?.fields ?? {};
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (left > 0) return;
    const admission = await deed.run();
    if (admission) await begin(admission);
  };
  return html`<${Door} title=${t("sign_up.title")}>
    <form class="stack" onSubmit=${send}>
      <${Field} label=${t("fields.name")} value=${name} onInput=${setName} autocomplete="name" required error=${wrong["name"]} />
      <${Field} label=${t("fields.email")} type="email" value=${email} onInput=${setEmail} autocomplete="username" required error=${wrong["email"]} />
      <${Field} label=${t("fields.phone_optional")} type="tel" value=${phone} onInput=${setPhone} autocomplete="tel" error=${wrong["phone"]} />
      <${PasswordField} label=${t("fields.password")} value=${password} onInput=${setPassword} autocomplete="new-password" required hint=${t("fields.password_hint")} error=${wrong["password"]} />
      ${deed.problem && Object.keys(wrong).length === 0 ? html`<${Failed} problem=${deed.problem} />` : null}
      <${Button} type="submit" kind="primary" isBusy=${deed.isBusy} off=${waitReason(left)}>${t("sign_up.create")}<//>
      <p class="small muted">${t("sign_up.begins")} <a href=${logIn}>${t("sign_up.have_one")}</a></p>
    </form>
  <//>`;
}
