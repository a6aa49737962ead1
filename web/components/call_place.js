// @ts-check
/** Pricing a call before it is placed, and placing it: with the recharge in between where money is missing. */

import { post, Problem } from "../core/api.js";
import { useAction } from "../core/data.js";
import { useEffect, useState } from "../core/html.js";
import { navigate } from "../core/router.js";
import { withMoney } from "./recharge.js";

const TYPED_MS = 450;

/** A number as it is sent; null while it is too short to be one. */
export function typedNumber(/** @type {string} */ text) {
  const cleaned = text.replace(/[\s()./-]/g, "");
  return /^\+?\d{8,15}$/.test(cleaned) ? cleaned : null;
}

/**
 * The price of a call, by the code that charges; asked for when the typing pauses.
 *
 * @param {{to: string, connect_to?: string, seconds: number}} about
 * @returns {{quote: any, problem: Problem | null, isLoading: boolean}}
 */
export function useQuote({ to, connect_to = "", seconds }) {
  const number = typedNumber(to);
  const second = connect_to.trim() ? typedNumber(connect_to) : "";
  const asked = number && second !== null ? JSON.stringify({ to: number, ...(second ? { connect_to: second } : {}), duration_seconds: seconds }) : null;
  const [state, setState] = useState(/** @type {any} */ ({ asked: null, quote: null, problem: null }));
  useEffect(() => {
    if (!asked) return undefined;
    let isOver = false;
    const timer = setTimeout(() => {
      post("/api/calls/quote", JSON.parse(asked)).then(
        (quote) => { if (!isOver) setState({ asked, quote, problem: null }); },
        (problem) => {
          if (!(problem instanceof Problem)) throw problem;
          if (!isOver) setState({ asked, quote: null, problem });
        },
      );
    }, TYPED_MS);
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [asked]);
  const isCurrent = asked !== null && state.asked === asked;
  return { quote: isCurrent ? state.quote : null, problem: isCurrent ? state.problem : null, isLoading: asked !== null && !isCurrent };
}

/** Place a call and go to its page; a 402 opens the recharge, and afterwards it goes on by itself. */
export function usePlacing() {
  return useAction(async (key, /** @type {any} */ body) => {
    const call = await withMoney((attempt) => post("/api/call", body, attempt ? `${key}-${attempt}` : key));
    navigate(`/calls/${encodeURIComponent(call.call_id)}`);
    return call;
  });
}
