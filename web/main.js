// @ts-check
/** The console: starts what runs on every page, and shows the page of the address. */

import { Banner } from "./components/banner.js";
import { Shell } from "./components/shell.js";
import { Failed, Loading } from "./components/states.js";
import { Toasts } from "./components/toast.js";
import { demanded, get, Problem } from "./core/api.js";
import { Component, html, render, signal, useEffect, useState } from "./core/html.js";
import { refreshed, startFocus, stopLive } from "./core/live.js";
import { match, navigate, path, query, startRouter } from "./core/router.js";
import { isStaff, loadMe, me, meProblem, startSession } from "./core/session.js";
import { startLanguage, t } from "./core/texts.js";
import { setTheme, theme } from "./core/theme.js";

/** Pages that nobody has to be logged in for. @type {Record<string, () => Promise<any>>} */
const DOORS = {
  "/login": () => import("./pages/log_in.js"),
  "/signup": () => import("./pages/sign_up.js"),
};
/** @type {Record<string, () => Promise<any>>} */
const PAGES = {
  "/": () => import("./pages/home.js"),
  "/calls": () => import("./pages/calls.js"),
  "/calls/new": () => import("./pages/new_call.js"),
  "/calls/:id": () => import("./pages/call.js"),
  "/campaigns": () => import("./pages/campaigns.js"),
  "/campaigns/new": () => import("./pages/new_campaign.js"),
  "/campaigns/:id": () => import("./pages/campaign.js"),
  "/campaigns/:id/edit": () => import("./pages/edit_campaign.js"),
  "/transactions": () => import("./pages/transactions.js"),
  "/transactions/:id": () => import("./pages/transaction.js"),
  "/payments": () => import("./pages/payments.js"),
  "/payments/:id": () => import("./pages/order.js"),
  "/do-not-call": () => import("./pages/do_not_call.js"),
  "/numbers/:number": () => import("./pages/number.js"),
  "/account": () => import("./pages/account.js"),
  "/more": () => import("./pages/more.js"),
};
/** In place of every page, until the account has what the service asks of it. */
const DEMANDED = { pattern: "demanded", load: () => import("./pages/account_demanded.js"), given: {} };
/** Pages of operators and admins. @type {Record<string, () => Promise<any>>} */
const PAGES_OF_STAFF = {
  "/admin": () => import("./pages/admin/overview.js"),
  "/admin/users": () => import("./pages/admin/users.js"),
  "/admin/users/:id": () => import("./pages/admin/user.js"),
  "/admin/review": () => import("./pages/admin/review.js"),
  "/admin/rates": () => import("./pages/admin/rates.js"),
  "/admin/books": () => import("./pages/admin/books.js"),
  "/admin/complaints": () => import("./pages/admin/complaints.js"),
  "/admin/rules": () => import("./pages/admin/rules.js"),
  "/admin/network": () => import("./pages/admin/network.js"),
  "/admin/log": () => import("./pages/admin/log.js"),
};

/** The page of an address: what loads it, and the parameters in the path. */
function find(/** @type {Record<string, () => Promise<any>>} */ pages, /** @type {string} */ tried) {
  for (const [pattern, load] of Object.entries(pages)) {
    const given = match(pattern, tried);
    if (given) return { pattern, load, given };
  }
  return null;
}

const loaded = signal(/** @type {Record<string, any>} */ ({}));

/** A page as soon as its file is here; what breaks in it is shown there and not as an empty window. */
class Guarded extends Component {
  /** @param {any} props */
  constructor(props) {
    super(props);
    this.state = { failure: null };
  }

  static getDerivedStateFromError(/** @type {any} */ failure) {
    return { failure };
  }

  render() {
    const { failure } = /** @type {any} */ (this.state);
    if (!failure) return /** @type {any} */ (this.props).children;
    return html`<main id="main"><div class="notice bad" role="alert"><div><h1 class="small">${t("states.broken")}</h1><span class="sub xs mono">${String(failure.message ?? failure)}</span></div><button class="btn" type="button" onClick=${() => location.reload()}>${t("actions.reload")}</button></div></main>`;
  }
}

const RELOADED = "wallet.reloaded";
const RELOAD_AGAIN_MS = 60_000;

/**
 * The file of a page could not be loaded: the service is away, or it was updated and has other files now, which
 * are there after loading everything anew. That is done once: what fails then is broken.
 *
 * @returns {Promise<boolean>} whether it is tried again
 */
async function isComingBack() {
  try {
    await get("/health");
  } catch {
    return true;
  }
  if (Date.now() - Number(sessionStorage.getItem(RELOADED)) < RELOAD_AGAIN_MS) return false;
  sessionStorage.setItem(RELOADED, String(Date.now()));
  location.reload();
  return true;
}

/** @param {{found: NonNullable<ReturnType<typeof find>>}} props */
function Loaded({ found }) {
  const { pattern, load, given } = found;
  const kind = loaded.value[pattern];
  const [isMissing, setIsMissing] = useState(false);
  const look = async () => {
    try {
      const file = await load();
      loaded.value = { ...loaded.value, [pattern]: file.default };
    } catch (failure) {
      if (await isComingBack()) setIsMissing(true);
      else loaded.value = { ...loaded.value, [pattern]: () => { throw failure; } };
    }
  };
  useEffect(() => {
    if (!kind) void look();
  }, [pattern, kind, refreshed.value]);
  if (kind) return html`<${kind} key=${path.value} ...${given} />`;
  if (isMissing) return html`<main id="main"><h1 class="hidden">${t("states.loading")}</h1><${Failed} problem=${new Problem(0, {})} retry=${() => void look()} /></main>`;
  return html`<main id="main"><h1 class="hidden">${t("states.loading")}</h1><${Loading} /></main>`;
}

function Nowhere() {
  return html`<main id="main"><div class="empty"><h1>${t("states.nowhere")}</h1><a class="btn" href="/">${t("nav.home")}</a></div></main>`;
}

/** Where somebody goes after the log-in: an address of this page alone. */
export function afterLogIn() {
  const next = query.value.get("next") ?? "/";
  return next.startsWith("/") && !next.startsWith("//") ? next : "/";
}

function App() {
  const here = path.value;
  const door = find(DOORS, here);
  const staff = isStaff.value;
  useEffect(() => {
    if (me.value === null && !door) navigate(`/login?next=${encodeURIComponent(location.pathname + location.search)}`, { replace: true });
    else if (me.value && door) navigate(afterLogIn(), { replace: true });
    else if (me.value && staff && here === "/") navigate("/admin", { replace: true });
  }, [me.value, here]);
  useEffect(() => {
    if (demanded.value) stopLive();
  }, [demanded.value]);
  if (me.value === undefined && !door) {
    return html`<${Banner} /><main id="main" class="alone">${meProblem.value ? html`<${Failed} problem=${meProblem.value} retry=${() => void loadMe()} />` : html`<h1 class="hidden">${t("states.loading")}</h1><${Loading} />`}</main>`;
  }
  if (door) return html`<${Banner} /><${Guarded} key=${here}><${Loaded} found=${door} /><//><${Toasts} />`;
  if (!me.value) return null;
  if (demanded.value) return html`<${Banner} /><${Guarded} key=${demanded.value}><${Loaded} found=${DEMANDED} /><//><${Toasts} />`;
  const found = find(staff ? { ...PAGES, ...PAGES_OF_STAFF } : PAGES, here);
  return html`<${Shell}><${Guarded} key=${here}>${found ? html`<${Loaded} found=${found} />` : html`<${Nowhere} />`}<//><//>`;
}

async function start() {
  setTheme(theme.value);
  await startLanguage();
  startRouter();
  startFocus();
  startSession();
  render(html`<${App} />`, /** @type {Element} */ (document.getElementById("app")));
  await loadMe();
}

void start();
