// @ts-check
/** Light, dark, or what the system says. */

import { signal } from "./html.js";
import { read, remember } from "./texts.js";

export const theme = signal(read("theme") ?? "auto");

/** Choose it, and remember it in this browser. */
export function setTheme(/** @type {string} */ name) {
  theme.value = name;
  if (name === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = name;
  remember("theme", name);
}
