// @ts-check
/** Who is logged in, what they may do, and their balance: one source for header and pages. */

import { demanded, get, isExpired, post, Problem, setHasSession } from "./api.js";
import { batch, computed, effect, signal } from "./html.js";
import { listen, refresh, refreshed, startLive, stopLive } from "./live.js";
import { paise } from "./format.js";

/** The account; undefined while it is not known yet, null when nobody is logged in. */
export const me = signal(/** @type {any} */ (undefined));
/** Why it could not be found out who is logged in. */
export const meProblem = signal(/** @type {Problem | null} */ (null));
/** The wallet as BalanceOut has it, in paise; null while unknown. */
export const balance = signal(/** @type {null | {balance_paise: number, held_paise: number, available_paise: number, due_paise: number, minimum_paise: number, is_low: boolean, is_frozen: boolean}} */ (null));
export const role = computed(() => me.value?.role ?? null);
export const isAdmin = computed(() => role.value === "admin");
/** Whether this account sees everybody's: operators and admins. */
export const isStaff = computed(() => role.value === "admin" || role.value === "operator");

/** The tabs of this browser share one session: what one does with it, the others hear. */
const tabs = "BroadcastChannel" in window ? new BroadcastChannel("wallet.session") : null;

/** Find out who is logged in. */
export async function loadMe() {
  try {
    const found = await get("/api/auth/me");
    setHasSession(true);
    batch(() => {
      me.value = found;
      meProblem.value = null;
    });
    if (!demanded.value) startLive();
    await loadBalance();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 401) me.value = null;
    else meProblem.value = problem;
  }
}

/** Read the balance; what cannot be read stays unknown, never 0. */
export async function loadBalance() {
  try {
    const found = await get("/api/wallet/balance");
    balance.value = {
      balance_paise: paise(found.balance) ?? 0,
      held_paise: paise(found.held) ?? 0,
      available_paise: paise(found.available) ?? 0,
      due_paise: paise(found.due) ?? 0,
      minimum_paise: paise(found.minimum_balance) ?? 0,
      is_low: found.low_balance,
      is_frozen: found.frozen,
    };
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    balance.value = null;
  }
}

/** What a log-in or a sign-up answered: this account is the one now. */
export async function begin(/** @type {any} */ admission) {
  setHasSession(true);
  if (admission.password_change_required) demanded.value = "password_change_required";
  const wasSomebody = me.value;
  if (wasSomebody && wasSomebody.id !== admission.user.id) balance.value = null;
  await loadMe();
  isExpired.value = false;
  tabs?.postMessage({ account: admission.user.id });
}

/** The account has what the service asked of it: everything else is open now. */
export async function satisfied() {
  demanded.value = null;
  await loadMe();
  refresh();
}

/** Log in with a cookie that no script can read. */
export const logIn = (/** @type {string} */ email, /** @type {string} */ password, /** @type {string | undefined} */ totp_code = undefined) =>
  post("/api/auth/login", { email, password, session: "cookie", ...(totp_code ? { totp_code } : {}) });

/** End the session, in every tab. Raises Problem when it may still be there: the service was not reached. */
export async function logOut() {
  try {
    await post("/api/auth/logout");
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.isUnknown) throw problem;
  }
  forget();
}

/** Nobody is logged in here, nor in another tab of this browser. */
export function forget() {
  tabs?.postMessage({ account: null });
  forgetHere();
}

function forgetHere() {
  setHasSession(false);
  stopLive();
  batch(() => {
    me.value = null;
    balance.value = null;
    isExpired.value = false;
  });
}

/** What another tab has done with the session. */
function heardOfSession(/** @type {string | null} */ account) {
  if (account === null) forgetHere();
  else if (me.value && me.value.id !== account) location.assign("/"); // what is shown here is somebody else's
  else {
    setHasSession(true);
    void loadMe().then(refresh);
  }
}

/** Keep the balance true: by what is told, and whenever everything is read again. */
export function startSession() {
  if (tabs) tabs.onmessage = (event) => heardOfSession(event.data.account);
  listen("balance", (told) => {
    if (!me.value || told.user_id !== me.value.id) return;
    const before = balance.value;
    if (!before) return void loadBalance();
    const available_paise = paise(told.available) ?? 0;
    balance.value = {
      ...before,
      balance_paise: paise(told.balance) ?? 0,
      held_paise: paise(told.held) ?? 0,
      due_paise: paise(told.due) ?? 0,
      available_paise,
      is_low: available_paise < before.minimum_paise,
      is_frozen: told.frozen,
    };
  });
  let seen = refreshed.value;
  effect(() => {
    if (refreshed.value === seen) return;
    seen = refreshed.value;
    if (me.value) void loadBalance();
  });
}
