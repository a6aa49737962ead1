// @ts-check
/** Addresses: which page is shown, and what of it stands in the URL. */

import { computed, signal } from "./html.js";

const here = signal(location.pathname + location.search);

/** The path of the page that is shown. */
export const path = computed(() => new URL(here.value, location.origin).pathname);
/** Its parameters. */
export const query = computed(() => new URL(here.value, location.origin).searchParams);

/** Go to another page; `replace` leaves no step behind for the way back. */
export function navigate(/** @type {string} */ url, { replace = false } = {}) {
  const target = new URL(url, location.origin);
  if (target.origin !== location.origin) return;
  const text = target.pathname + target.search;
  if (text === here.value) return;
  const isOtherPage = target.pathname !== path.value;
  history[replace ? "replaceState" : "pushState"](null, "", text);
  here.value = text;
  if (isOtherPage) scrollTo(0, 0);
}

/** Change parameters of the page that is shown; null takes one away. */
export function setQuery(/** @type {Record<string, string | number | null | undefined>} */ changes, { replace = false } = {}) {
  const changed = new URLSearchParams(query.value);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") changed.delete(name);
    else changed.set(name, String(value));
  }
  const text = changed.toString();
  navigate(text ? `${path.value}?${text}` : path.value, { replace });
}

/** The parameters of a path that a pattern like '/calls/:id' has; null when it is another path. */
export function match(/** @type {string} */ pattern, /** @type {string} */ tried) {
  const wanted = pattern.split("/");
  const given = tried.split("/");
  if (wanted.length !== given.length) return null;
  /** @type {Record<string, string>} */
  const found = {};
  for (let i = 0; i < wanted.length; i += 1) {
    const part = given[i] ?? "";
    if (wanted[i]?.startsWith(":")) {
      try {
        found[/** @type {string} */ (wanted[i]).slice(1)] = decodeURIComponent(part);
      } catch {
        return null;
      }
    } else if (wanted[i] !== part) return null;
  }
  return found;
}

/** Follow links within the page, without loading it again. */
export function startRouter() {
  addEventListener("popstate", () => {
    here.value = location.pathname + location.search;
  });
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = /** @type {Element} */ (event.target).closest?.("a[href]");
    if (!(link instanceof HTMLAnchorElement) || link.target || link.hasAttribute("download")) return;
    if (link.origin !== location.origin || link.hasAttribute("data-plain")) return;
    if (link.hash && link.pathname === location.pathname) return;
    event.preventDefault();
    navigate(link.href);
  });
}
