/** When a run's steps were done, and how long they took. */
import type { CurvePoint } from "../records.ts";

/** Points of the curve on either side of a step that say how long steps take there. */
const TIMED_POINTS = 5;

/** Place of the first point at x or behind; points are in the order of x. */
export function placeOf(points: readonly (readonly [x: number, ...unknown[]])[], x: number): number {
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Seconds from a run's first step until each of its points; `null` where no time was recorded. */
export function secondsOf(points: readonly CurvePoint[]): (number | null)[] {
  const start = points.find(([, , , , time]) => time !== null)?.[4] ?? null;
  return points.map(([, , , , time]) => start === null || time === null ? null : time - start);
}

/** When a step was done, between the points that are known, whose times are those of `secondsOf`. */
export function secondsAt(
  points: readonly CurvePoint[],
  seconds: readonly (number | null)[],
  step: number,
): number | null {
  const after = placeOf(points, step);
  if (after === points.length) return seconds.at(-1) ?? null;
  if (after === 0) return seconds[0] ?? null;
  const [from, to] = [seconds[after - 1], seconds[after]];
  if (from === null || to === null) return null;
  const share = (step - points[after - 1][0]) / (points[after][0] - points[after - 1][0]);
  return from + share * (to - from);
}

/**
 * Returns how long a step takes around one, in seconds: the median of the steps near it, so that a pause for an evaluation or
 * a resume does not count. `null` where no time was recorded.
 */
export function secondsPerStep(points: readonly CurvePoint[], step: number): number | null {
  const at = Math.min(placeOf(points, step), points.length - 1);
  const near = points.slice(Math.max(0, at - TIMED_POINTS), at + TIMED_POINTS + 1);
  const lengths = near.slice(1).flatMap(([step, , , , time], i) => {
    const [before, , , , since] = near[i];
    return time === null || since === null ? [] : [(time - since) / (step - before)];
  }).toSorted((a, b) => a - b);
  return lengths.length === 0 ? null : lengths[lengths.length >> 1];
}
