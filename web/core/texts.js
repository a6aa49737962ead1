// @ts-check
/** The texts of the console in the language that was chosen. All texts of a language are one file. */

import { signal } from "./html.js";
import en from "../texts/en.js";

export const LANGUAGES = { en: "English", hi: "हिन्दी" };

const stored = read("language");
/** @type {import("../vendor/signals.js").Signal<keyof typeof LANGUAGES>} */
export const language = signal("en");
const all = signal(/** @type {Record<string, any>} */ ({ en }));

/** A setting that this browser remembers; null where it remembers nothing. */
export function read(/** @type {string} */ name) {
  try {
    return localStorage.getItem(`wallet.${name}`);
  } catch {
    return null;
  }
}

/** Remember a setting, where the browser lets us. */
export function remember(/** @type {string} */ name, /** @type {string} */ value) {
  try {
    localStorage.setItem(`wallet.${name}`, value);
  } catch {
    // A browser that keeps nothing asks again next time.
  }
}

/** Choose a language; loads its texts. */
export async function setLanguage(/** @type {keyof typeof LANGUAGES} */ name) {
  if (!all.value[name]) {
    const loaded = name === "hi" ? (await import("../texts/hi.js")).default : en;
    all.value = { ...all.value, [name]: loaded };
  }
  language.value = name;
  document.documentElement.lang = name;
  remember("language", name);
}

/** The language of last time, before the first screen is drawn. */
export async function startLanguage() {
  if (stored === "hi") await setLanguage("hi");
}

function find(/** @type {any} */ texts, /** @type {string} */ key) {
  return key.split(".").reduce((found, part) => (found === undefined ? undefined : found[part]), texts);
}

/**
 * The text of a key, with `{name}` filled in. `{count}` chooses between `one` and `other` where the text
 * is a pair of them. A key that is missing is shown as itself, so that it is seen.
 *
 * @param {string} key
 * @param {Record<string, any>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  let text = find(all.value[language.value], key) ?? find(en, key);
  if (text && typeof text === "object" && "other" in text) {
    text = Number(values.count) === 1 ? text.one : text.other;
  }
  if (typeof text !== "string") return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** The text of a value of an enumeration; a value that this page does not know is shown as it is. */
export function named(/** @type {string} */ group, /** @type {string | null | undefined} */ value) {
  if (value === null || value === undefined || value === "") return "—";
  const text = find(all.value[language.value], `${group}.${value}`) ?? find(en, `${group}.${value}`);
  return typeof text === "string" ? text : String(value).replaceAll("_", " ");
}
