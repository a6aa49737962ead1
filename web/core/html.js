// @ts-check
/** The markup of components: `html` makes what Preact draws; everything of the library comes from here. */

import htm from "../vendor/htm.js";
import { h } from "../vendor/preact.js";

export { Component, Fragment, createContext, render } from "../vendor/preact.js";
export {
  useCallback,
  useContext,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "../vendor/preact-hooks.js";
export { batch, computed, effect, signal, useComputed, useSignal } from "../vendor/signals.js";

/** A template as what Preact draws; text in it is text, never markup. */
export const html = htm.bind(h);

let last = 0;

/** An id that no other element of the page has, for labels. */
export function newId(prefix = "id") {
  last += 1;
  return `${prefix}-${last}`;
}
