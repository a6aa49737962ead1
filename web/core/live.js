// @ts-check
/**
 * Live: what changes, as the service tells it; and whether this page is in touch with it.
 *
 * One tab of a browser listens and tells the others, because a browser has few connections for one origin.
 * Whoever shows something reads it again when it may have missed a change: on focus, after a gap.
 */

import { signal } from "./html.js";

/** 'connecting', 'on', or 'out': out of touch, what is shown may be old. */
export const touch = signal("connecting");
/** Goes up when everything should be read again. */
export const refreshed = signal(0);

const KINDS = ["balance", "call", "campaign", "job"];
const OUT_AFTER_MS = 4_000;
const FOCUS_AFTER_MS = 5_000;
/** @type {Map<string, Set<(data: any) => void>>} */
const listeners = new Map();
/** @type {EventSource | null} */
let source = null;
/** @type {BroadcastChannel | null} */
let channel = null;
/** @type {AbortController | null} */
let leading = null;
let outTimer = 0;
let readAt = Date.now();

/** Hear a kind of change ('balance', 'call', 'campaign'); returns what stops it. */
export function listen(/** @type {string} */ kind, /** @type {(data: any) => void} */ heard) {
  const of = listeners.get(kind) ?? new Set();
  listeners.set(kind, of.add(heard));
  return () => of.delete(heard);
}

/** Read everything again. */
export function refresh() {
  readAt = Date.now();
  refreshed.value += 1;
}

function tell(/** @type {{kind: string, data?: any, touch?: string}} */ message) {
  if (message.touch) setTouch(message.touch);
  else if (message.kind === "reload") refresh();
  else for (const heard of listeners.get(message.kind) ?? []) heard(message.data);
}

function tellAll(/** @type {any} */ message) {
  channel?.postMessage(message);
  tell(message);
}

function setTouch(/** @type {string} */ state) {
  if (state === "lost") {
    // Each try that fails says so again: the time is that since the first one.
    if (touch.value !== "out") outTimer ||= setTimeout(() => { touch.value = "out"; }, OUT_AFTER_MS);
    return;
  }
  clearTimeout(outTimer);
  outTimer = 0;
  const wasOut = touch.value === "out";
  touch.value = state;
  if (wasOut && state === "on") refresh();
}

function connect() {
  source = new EventSource("/api/events/stream");
  source.addEventListener("ready", () => tellAll({ kind: "", touch: "on" }));
  source.addEventListener("reload", () => tellAll({ kind: "reload" }));
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => tellAll({ kind, data: JSON.parse(event.data) }));
  }
  source.addEventListener("error", () => {
    tellAll({ kind: "", touch: "lost" });
    if (source?.readyState !== EventSource.CLOSED) return; // it comes back by itself
    setTimeout(() => {
      if (leading && !leading.signal.aborted) connect();
    }, 3_000);
  });
}

/** Begin to listen, for the session that there is now. */
export function startLive() {
  stopLive();
  const mine = new AbortController();
  leading = mine;
  if (!("locks" in navigator) || !("BroadcastChannel" in window)) {
    connect();
    return;
  }
  channel = new BroadcastChannel("wallet.live");
  channel.onmessage = (event) => {
    if (event.data.asks) {
      if (source) channel?.postMessage({ kind: "", touch: touch.value === "on" ? "on" : "lost" });
    } else tell(event.data);
  };
  channel.postMessage({ asks: true });
  // Whoever has the lock listens; when its tab is closed, the next one gets it.
  navigator.locks
    .request("wallet.live", { signal: mine.signal }, () => {
      connect();
      return new Promise((resolve) => mine.signal.addEventListener("abort", () => resolve(undefined)));
    })
    .catch(() => undefined);
}

/** Stop listening: nobody is logged in. */
export function stopLive() {
  leading?.abort();
  source?.close();
  channel?.close();
  leading = source = channel = null;
  clearTimeout(outTimer);
  outTimer = 0;
  touch.value = "connecting";
}

/** Read again when somebody comes back to the page. */
export function startFocus() {
  const again = () => {
    if (document.visibilityState === "visible" && Date.now() - readAt > FOCUS_AFTER_MS) refresh();
  };
  addEventListener("focus", again);
  addEventListener("online", again);
  document.addEventListener("visibilitychange", again);
}
