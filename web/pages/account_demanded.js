// @ts-check
/** What the service asks of an account before it opens anything: a password of one's own, a second factor. */

import { leave } from "../components/shell.js";
import { say } from "../components/toast.js";
import { demanded } from "../core/api.js";
import { html } from "../core/html.js";
import { me, satisfied } from "../core/session.js";
import { t } from "../core/texts.js";
import { PasswordForm } from "./account_password.js";
import { SetUp } from "./account_second_factor.js";
import { Door } from "./log_in.js";

export default function DemandedPage() {
  const isPassword = demanded.value !== "second_factor_setup_required";
  const done = () => {
    say(t(isPassword ? "account.password_done" : "account.totp_on_now"));
    void satisfied();
  };
  return html`<${Door} title=${t(isPassword ? "account.demanded_password" : "account.demanded_totp")}>
    <p class="small muted">${t(isPassword ? "account.demanded_password_why" : "account.demanded_totp_why")} <bdi>${me.value?.email}</bdi></p>
    ${isPassword ? html`<${PasswordForm} onDone=${done} />` : html`<${SetUp} onDone=${done} />`}
    <button class="btn quiet" type="button" onClick=${() => void leave()}>${t("actions.log_out")}</button>
  <//>`;
}
