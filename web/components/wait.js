// @ts-check
/** Waiting until a try is allowed again: the service says how long, the page counts down. */

import { useEffect, useState } from "../core/html.js";
import { duration } from "../core/format.js";
import { t } from "../core/texts.js";

/** How many seconds are left of what a problem asks to wait; 0 when a try is allowed. @param {import("../core/api.js").Problem | null} problem */
export function useWait(problem) {
  const [left, setLeft] = useState(0);
  useEffect(() => {
    const seconds = problem?.status === 429 ? (problem.retryAfterSeconds ?? 10) : 0;
    setLeft(seconds);
    if (seconds === 0) return undefined;
    const until = Date.now() + seconds * 1_000;
    const timer = setInterval(() => {
      const now = Math.max(0, Math.ceil((until - Date.now()) / 1_000));
      setLeft(now);
      if (now === 0) clearInterval(timer);
    }, 1_000);
    return () => clearInterval(timer);
  }, [problem]);
  return left;
}

/** Why a button is off while somebody has to wait; null when they need not. */
export const waitReason = (/** @type {number} */ left) => (left > 0 ? t("log_in.wait", { time: duration(left) }) : null);

