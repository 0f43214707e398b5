/** Times that are longer than a timer can wait. */

/** The longest that a timer waits, in ms, some 25 days. Longer ones count as 1 ms: `setTimeout(f, Infinity)` calls at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Sets a timer, as `setTimeout` does; for more than {@linkcode LONGEST_TIMER_MS} none, as it would go off at once. */
export function setTimer(call: () => void, ms: number): ReturnType<typeof setTimeout> | undefined {
  return ms > LONGEST_TIMER_MS ? undefined : setTimeout(call, ms);
}
