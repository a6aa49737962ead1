// @ts-check
/** Data of a page: read when it is shown, again when it may have changed, and never shown as 0 when unknown. */

import { address, get, newKey, Problem } from "./api.js";
import { useCallback, useEffect, useRef, useState } from "./html.js";
import { listen, refreshed } from "./live.js";

/**
 * What a GET answers. `data` stays while it is read again; `problem` says why the last try failed.
 *
 * @template [T=any]
 * @param {string | null} path null: nothing to read yet
 * @param {Record<string, any>} [query]
 * @param {{live?: string[], every_ms?: number, matches?: (told: any) => boolean}} [options]
 *   `live`: kinds of changes after which it is read again; `every_ms`: and after so long
 * @returns {{data: T | undefined, problem: Problem | null, isLoading: boolean, reload: () => void}}
 */
export function useData(path, query = {}, options = {}) {
  const url = path === null ? null : address(path, query);
  const [state, setState] = useState(/** @type {any} */ ({ url: null, data: undefined, problem: null }));
  const [turn, setTurn] = useState(0);
  const reload = useCallback(() => setTurn((before) => before + 1), []);
  const again = refreshed.value;
  // A change that is told while it is read is read afterwards: else one a second would abort each try.
  const reading = useRef({ isOn: false, isOld: false });

  useEffect(() => {
    if (url === null) return undefined;
    const stop = new AbortController();
    const ended = () => {
      const wasOld = reading.current.isOld;
      reading.current = { isOn: false, isOld: false };
      if (wasOld) reload();
    };
    reading.current = { isOn: true, isOld: false };
    get(url, {}, stop.signal).then(
      (data) => {
        if (stop.signal.aborted) return;
        setState({ url, data, problem: null });
        ended();
      },
      (problem) => {
        if (stop.signal.aborted) return;
        ended();
        if (!(problem instanceof Problem)) throw problem;
        setState((/** @type {any} */ before) => ({ url, data: before.url === url ? before.data : undefined, problem }));
      },
    );
    return () => stop.abort();
  }, [url, turn, again]);

  const live = (options.live ?? []).join(" ");
  const matches = useRef(options.matches);
  matches.current = options.matches;
  useEffect(() => {
    if (!live) return undefined;
    let timer = 0;
    const heard = (/** @type {any} */ told) => {
      if (matches.current && !matches.current(told)) return;
      timer ||= setTimeout(() => {
        timer = 0;
        if (reading.current.isOn) reading.current.isOld = true;
        else reload();
      }, 300);
    };
    const stops = live.split(" ").map((kind) => listen(kind, heard));
    return () => {
      clearTimeout(timer);
      for (const stop of stops) stop();
    };
  }, [live, reload]);

  const every_ms = options.every_ms ?? 0;
  useEffect(() => {
    if (!every_ms) return undefined;
    const timer = setInterval(() => reading.current.isOn || reload(), every_ms);
    return () => clearInterval(timer);
  }, [every_ms, reload]);

  const isOld = state.url !== url;
  return {
    data: isOld ? undefined : state.data,
    problem: isOld ? null : state.problem,
    isLoading: url !== null && (isOld || (state.data === undefined && state.problem === null)),
    reload,
  };
}

/**
 * Something that somebody does with a button: once at a time, with its problem, with one Idempotency-Key
 * until it succeeds or is refused, so that a second try is not a second deed.
 *
 * @param {(key: string, ...given: any[]) => Promise<any>} work
 * @returns {{run: (...given: any[]) => Promise<any>, isBusy: boolean, problem: Problem | null, clear: () => void}}
 *   `run` gives undefined when it failed; `clear` when something else is asked for from now on
 */
export function useAction(work) {
  const [state, setState] = useState(/** @type {{isBusy: boolean, problem: Problem | null}} */ ({ isBusy: false, problem: null }));
  const key = useRef("");
  const busy = useRef(false);
  const run = async (/** @type {any[]} */ ...given) => {
    if (busy.current) return undefined;
    busy.current = true;
    key.current ||= newKey();
    setState({ isBusy: true, problem: null });
    try {
      const done = await work(key.current, ...given);
      key.current = "";
      setState({ isBusy: false, problem: null });
      return done ?? null;
    } catch (problem) {
      if (!(problem instanceof Problem)) {
        setState({ isBusy: false, problem: null });
        throw problem;
      }
      if (!problem.isUnknown) key.current = ""; // refused: the next try is another one
      setState({ isBusy: false, problem });
      return undefined;
    } finally {
      busy.current = false;
    }
  };
  const clear = () => {
    key.current = ""; // what was asked for has changed
    setState({ isBusy: false, problem: null });
  };
  return { ...state, run, clear };
}
