// @ts-check
/** The door: log in. */

import { Logo } from "../components/icon.js";
import { LogInForm } from "../components/log_in.js";
import { html, useEffect } from "../core/html.js";
import { query } from "../core/router.js";
import { t } from "../core/texts.js";

/** What it is, beside the form. @param {{title: string, children: any}} props */
export function Door({ title, children }) {
  useEffect(() => {
    document.title = `${title} · ${t("product")}`;
  }, [title]);
  return html`<div class="door">
    <aside class="story" aria-label=${t("product")}><div class="brand"><${Logo} /><span>${t("product")}</span></div>
      <div><p class="headline">${t("door.headline")}</p><p>${t("door.story")}</p></div>
      <p class="small muted">${t("door.small")}</p></aside>
    <main id="main"><div class="card door-card"><h1>${title}</h1>${children}</div></main>
  </div>`;
}

export default function LogInPage() {
  const next = query.value.get("next");
  return html`<${Door} title=${t("log_in.title")}>
    <${LogInForm} onDone=${() => undefined} />
    <p class="small muted">${t("log_in.new_here")} <a href=${next ? `/signup?next=${encodeURIComponent(next)}` : "/signup"}>${t("log_in.create")}</a></p>
  <//>`;
}
