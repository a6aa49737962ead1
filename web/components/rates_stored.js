// @ts-check
/** A stored version: what it would change against the card in force, and the way to put it in force. */

import { post, Problem, request } from "../core/api.js";
import { useAction } from "../core/data.js";
import { html, useEffect, useState } from "../core/html.js";
import { navigate } from "../core/router.js";
import { isAdmin } from "../core/session.js";
import { t } from "../core/texts.js";
import { Button } from "./field.js";
import { Preview } from "./rates_preview.js";
import { dateOf, When } from "./rates_when.js";
import { Failed, Loading } from "./states.js";
import { say } from "./toast.js";

/** @param {{version: number, active: number | null, onDone: () => void}} props */
export function StoredCard({ version, active, onDone }) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let isGone = false;
    const form = new FormData();
    form.append("version", String(version));
    setProblem(null);
    request("POST", "/api/admin/rate-cards/preview", { form }).then(
      (answer) => !isGone && setFound(answer),
      (failure) => !isGone && setProblem(failure instanceof Problem ? failure : new Problem(0, {})),
    );
    return () => { isGone = true; };
  }, [version, active, turn]);
  const close = () => navigate("/admin/rates");
  return html`<section class="card"><header><h2>${t("rates.version", { version })}</h2><div class="row"><a class="btn quiet" href=${`/api/admin/rate-cards/${version}/download`} download>${t("actions.csv")}</a><${Button} kind="quiet" onClick=${close}>${t("actions.close")}<//></div></header><div class="body stack">
    ${problem ? html`<${Failed} problem=${problem} retry=${() => setTurn(turn + 1)} />` : found ? html`<${Preview} found=${found} />` : html`<${Loading} />`}
    ${version === active ? html`<p class="notice ok small">${t("rates.is_in_force")}</p>` : isAdmin.value && found ? html`<${Activate} version=${version} onDone=${() => { onDone(); close(); }} />` : null}
  </div></section>`;
}

/** @param {{version: number, onDone: () => void}} props */
function Activate({ version, onDone }) {
  const [when, setWhen] = useState("");
  const from = dateOf(when);
  const put = useAction(() => post("/api/admin/rate-cards/activate", { version, ...(from ? { effective_from: from.iso } : {}) }));
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!(await put.run())) return;
    say(t(from ? "rates.put_later_done" : "rates.put_done", { version, when: from?.shown ?? "" }));
    onDone();
  };
  return html`<form class="stack" onSubmit=${send}><hr class="line" /><${When} value=${when} onInput=${setWhen} /><p class="small muted">${t("rates.put_says")}</p>
    ${put.problem ? html`<${Failed} problem=${put.problem} />` : null}
    <div class="row"><${Button} kind="primary" type="submit" isBusy=${put.isBusy} off=${when && !from ? t("rates.when_wrong") : null}>${from ? t("rates.activate_later", { version, when: from.shown }) : t("rates.activate", { version })}<//></div></form>`;
}
