// @ts-check
/** The frame of every page: the rail, the header with the balance, what is always visible, and dialogs. */

import { isExpired, Problem } from "../core/api.js";
import { money } from "../core/format.js";
import { html, useEffect } from "../core/html.js";
import { refresh, touch } from "../core/live.js";
import { navigate, path } from "../core/router.js";
import { balance, isStaff, logOut, me } from "../core/session.js";
import { LANGUAGES, language, named, setLanguage, t } from "../core/texts.js";
import { setTheme, theme } from "../core/theme.js";
import { Banner } from "./banner.js";
import { Icon, Logo } from "./icon.js";
import { LogInAgain } from "./log_in.js";
import { recharge, RechargeDialog } from "./recharge.js";
import { ReviewCount } from "./review_count.js";
import { Search } from "./search.js";
import { Shortcuts } from "./shortcuts.js";
import { say, Toasts } from "./toast.js";

/** @type {[string, string, string][]} address, text, icon */
const OF_USERS = [
  ["/", "nav.home", "home"],
  ["/calls", "nav.calls", "phone"],
  ["/campaigns", "nav.campaigns", "mega"],
  ["/transactions", "nav.transactions", "list"],
  ["/payments", "nav.payments", "card"],
  ["/do-not-call", "nav.do_not_call", "block"],
];
/** @type {[string, string, string][]} */
const OF_STAFF = [
  ["/admin", "nav.overview", "chart"],
  ["/admin/users", "nav.users", "users"],
  ["/admin/review", "nav.review", "bell"],
  ["/admin/rates", "nav.rates", "tag"],
  ["/admin/books", "nav.books", "scale"],
  ["/calls", "nav.calls", "phone"],
  ["/campaigns", "nav.campaigns", "mega"],
  ["/transactions", "nav.transactions", "list"],
  ["/payments", "nav.payments", "card"],
  ["/do-not-call", "nav.do_not_call", "block"],
  ["/admin/complaints", "nav.complaints", "warn"],
  ["/admin/rules", "nav.rules", "check"],
  ["/admin/network", "nav.network", "phone"],
  ["/admin/log", "nav.log", "list"],
];
const ON_A_PHONE = 4;

const isHere = (/** @type {string} */ href) =>
  href === "/" || href === "/admin" ? path.value === href : path.value === href || path.value.startsWith(`${href}/`);

function Rail() {
  const items = isStaff.value ? OF_STAFF : OF_USERS;
  return html`<aside class="rail">
    <div class="brand"><${Logo} /><span>${t("product")}</span></div>
    <nav aria-label=${t("nav.label")}>
      ${items.map(([href, text, icon], i) => html`<a key=${href} href=${href} class=${i >= ON_A_PHONE ? "more" : undefined} aria-current=${isHere(href) ? "page" : undefined}><${Icon} name=${icon} /><span>${t(text)}</span>${href === "/admin/review" ? html`<${ReviewCount} />` : null}</a>`)}
      <a class="only-s" href="/more" aria-current=${isHere("/more") ? "page" : undefined}><${Icon} name="more" /><span>${t("nav.more")}</span></a>
    </nav>
    <footer class="small"><${Settings} /></footer>
  </aside>`;
}

/** End the session and go to the door; where that is not certain, it is said. */
export async function leave() {
  try {
    await logOut();
    navigate("/login");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    say(t("log_in.not_out"));
  }
}

/** Who is here, and how the page looks to them. */
export function Settings() {
  return html`<div class="stack tight">
    <a href="/account" class="ellipsis" aria-current=${isHere("/account") ? "page" : undefined}><bdi>${me.value?.name || me.value?.email}</bdi></a>
    <span class="xs muted">${named("roles", me.value?.role)}</span>
    <div class="row tight">
      <select class="input small-input" aria-label=${t("settings.language")} onChange=${(/** @type {any} */ event) => void setLanguage(event.currentTarget.value)}>
        ${Object.entries(LANGUAGES).map(([key, name]) => html`<option key=${key} value=${key} selected=${key === language.value}>${name}</option>`)}</select>
      <select class="input small-input" aria-label=${t("settings.theme")} onChange=${(/** @type {any} */ event) => setTheme(event.currentTarget.value)}>
        ${["auto", "light", "dark"].map((key) => html`<option key=${key} value=${key} selected=${key === theme.value}>${named("themes", key)}</option>`)}</select>
    </div>
    <button class="btn quiet" type="button" onClick=${() => void leave()}>${t("actions.log_out")}</button>
  </div>`;
}

/** What a user always sees: how much there is. */
function BalancePill() {
  const now = balance.value;
  const kind = now?.is_frozen ? "bad" : now && now.available_paise <= 0 ? "bad" : now?.is_low ? "warn" : "";
  return html`<a class=${`pill money ${kind}`} href="/" data-testid="available"><span class="muted xs">${t("balance.available")}</span>${money(now?.available_paise)}</a>
    <button class=${`btn ${now?.is_low ? "primary" : ""}`} type="button" onClick=${() => void recharge()}><${Icon} name="plus" /><span class="hide-s">${t("actions.recharge")}</span><span class="only-s hidden-text">${t("actions.recharge")}</span></button>`;
}

/** What must not be missed on any page: no real money, an empty wallet, a frozen one. */
function Notices() {
  const now = balance.value;
  const notices = [];
  if (touch.value === "out") notices.push(html`<div key="out" class="notice" role="alert"><${Icon} name="warn" /><div><strong>${t("notices.out_of_touch")}</strong></div><button class="btn" type="button" onClick=${refresh}>${t("actions.again")}</button></div>`);
  if (!isStaff.value && now?.is_frozen) notices.push(html`<div key="frozen" class="notice bad" role="alert"><${Icon} name="warn" /><div><strong>${t("notices.frozen")}</strong></div></div>`);
  else if (!isStaff.value && now && now.is_low) {
    const text = now.available_paise <= 0 ? "notices.empty" : "notices.low";
    notices.push(html`<div key="low" class=${`notice ${now.available_paise <= 0 ? "bad" : ""}`} role="status"><${Icon} name="warn" /><div><strong>${t(text, { minimum: money(now.minimum_paise), available: money(now.available_paise) })}</strong></div>
      <button class="btn" type="button" onClick=${() => void recharge({ shortfall_paise: Math.max(0, now.minimum_paise - now.available_paise) })}>${t("actions.recharge")}</button></div>`);
  }
  return notices.length ? html`<div class="notices">${notices}</div>` : null;
}

/** The title of the page, in its header and in the browser's tab. @param {{title: string, children?: any, page: any}} props */
export function Page({ title, children, page }) {
  useEffect(() => {
    document.title = `${title} · ${t("product")}`;
  }, [title]);
  return html`<header class="top"><h1><bdi>${title}</bdi></h1><div class="end">${children}<${Search} />${isStaff.value ? null : html`<${BalancePill} />`}</div></header>
    <main id="main" tabindex="-1"><${Notices} />${page}</main>`;
}

/** @param {{children: any}} props */
export function Shell({ children }) {
  return html`<a class="skip" href="#main">${t("nav.skip")}</a>
    <${Banner} />
    <div class="app"><${Rail} /><div class="page">${children}</div></div>
    <${RechargeDialog} /><${Shortcuts} /><${Toasts} />
    ${isExpired.value ? html`<${LogInAgain} />` : null}`;
}
