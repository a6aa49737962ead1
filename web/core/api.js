// @ts-check
/** The API: requests, and problems as it tells them. Nothing else here speaks to the service. */

import { signal } from "./html.js";

/** What stopped a request: a problem of the service (RFC 9457), or that it could not be reached. */
export class Problem extends Error {
  /**
   * @param {number} status 0: the service was not reached
   * @param {Record<string, any>} body
   * @param {Headers} [headers]
   */
  constructor(status, body, headers) {
    super(body.detail || body.title || "");
    this.status = status;
    /** @type {string} */
    this.code = body.code || "unknown";
    this.body = body;
    this.requestId = headers?.get("x-request-id") ?? null;
    const seconds = Number(headers?.get("retry-after"));
    this.retryAfterSeconds = Number.isFinite(seconds) && seconds > 0 ? seconds : null;
  }

  /** Whether nothing is known about what was asked for: try again. */
  get isUnknown() {
    return this.status === 0 || this.status >= 500;
  }

  /** What is wrong with each field of the body, by its name. */
  get fields() {
    /** @type {Record<string, string>} */
    const found = {};
    for (const error of this.body.errors ?? []) found[error.field] ??= error.message;
    return found;
  }
}

/** Whether the session that this page had is over; the shell asks for the password again. */
export const isExpired = signal(false);

/** What the account has to do before the service opens anything else to it: the code of its 403; null: nothing. */
export const demanded = signal(/** @type {string | null} */ (null));

const DEMANDS = new Set(["password_change_required", "second_factor_setup_required"]);
// A 401 of these says something else than that the session is over.
const DOORS = new Set(["/api/auth/login", "/api/auth/signup", "/api/auth/logout"]);
let hasSession = false;
/** What waits for a log-in after the session ended. @type {((isBack: boolean) => void)[]} */
let waiting = [];

/** Tell whether somebody is logged in, so that a 401 means that the session is over. */
export function setHasSession(/** @type {boolean} */ has) {
  hasSession = has;
  if (has) isExpired.value = false;
  else demanded.value = null;
  const waited = waiting;
  waiting = [];
  for (const decide of waited) decide(has);
}

/** Whether somebody has logged in again; it waits until they have, or leave. @returns {Promise<boolean>} */
function loggedInAgain() {
  isExpired.value = true;
  return new Promise((resolve) => waiting.push(resolve));
}

/** An address with the parameters that are set. */
export function address(/** @type {string} */ path, /** @type {Record<string, any>} */ query = {}) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === null || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) given.append(name, String(one));
  }
  const text = given.toString();
  return text ? `${path}${path.includes("?") ? "&" : "?"}${text}` : path;
}

/**
 * One request; what the service answers. Raises Problem. When the session is over it waits until
 * somebody has logged in again over the page, and goes on: nothing that was asked for is lost.
 *
 * @param {string} method
 * @param {string} path
 * @param {{query?: Record<string, any>, body?: any, form?: FormData, key?: string, signal?: AbortSignal}} [options]
 *   `key` is the Idempotency-Key: the same one for every try of one intention
 * @returns {Promise<any>}
 */
export async function request(method, path, options = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  if (options.key) headers["Idempotency-Key"] = options.key;
  let answer;
  try {
    answer = await fetch(address(path, options.query), {
      method,
      headers,
      body: options.form ?? (options.body === undefined ? undefined : JSON.stringify(options.body)),
      credentials: "same-origin",
      signal: options.signal,
    });
  } catch (problem) {
    if (options.signal?.aborted) throw problem;
    throw new Problem(0, { code: "unreachable" });
  }
  const isJson = (answer.headers.get("content-type") ?? "").includes("json");
  const body = answer.status === 204 ? null : isJson ? await answer.json() : await answer.text();
  if (answer.ok) return body;
  const problem = new Problem(answer.status, isJson ? body : { detail: String(body) }, answer.headers);
  if (answer.status === 403 && DEMANDS.has(problem.code)) demanded.value = problem.code;
  if (problem.code === "not_authenticated" && hasSession && !DOORS.has(path) && (await loggedInAgain())) {
    return request(method, path, options);
  }
  throw problem;
}

export const get = (/** @type {string} */ path, /** @type {Record<string, any>} */ query = {}, /** @type {AbortSignal | undefined} */ signal = undefined) =>
  request("GET", path, { query, signal });

/** A key for one intention; send it with every try of it. */
export const newKey = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;

export const post = (/** @type {string} */ path, /** @type {any} */ body = {}, /** @type {string | undefined} */ key = undefined) =>
  request("POST", path, { body, key });
