import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import { type Point, smooth } from "../../ui/page/smoothing.ts";

/** Steps that are not evenly spread, as after a resume: from 1, or much later. */
function unevenSteps(count: number, first = 1): number[] {
  return Array.from(
    { length: count },
    (_, i) => first + i + (i > count / 3 ? 50 : 0) + (i % 5 === 0 ? 0.5 : 0),
  );
}

/** How far apart two lines are at most. */
function distance(a: readonly Point[], b: readonly Point[]): number {
  assertEquals(a.map(([x]) => x), b.map(([x]) => x));
  return Math.max(...a.map(([, y], i) => Math.abs(y! - b[i][1]!)));
}

Deno.test("smooth leaves every straight line as it is, from its first point to its last", () => {
  for (const [slope, height] of [[0, 7], [0.25, -3], [-1e-3, 1e4]]) {
    for (const first of [1, 2_000_000]) {
      const line = unevenSteps(1000, first).map((x): Point => [x, height + slope * (x - first)]);
      for (const share of [0.01, 0.05, 0.5, 1]) {
        assertLess(
          distance(smooth(line, share), line),
          1e-7 * Math.max(1, Math.abs(height)),
          `${slope} ${share}`,
        );
      }
    }
  }
});

Deno.test("smooth leaves a line of a million steps as it is", () => {
  const line = Array.from({ length: 20_000 }, (_, i): Point => [50 * i, 8 - 3e-6 * i]);
  assertLess(distance(smooth(line, 0.2), line), 1e-7);
});

Deno.test("smooth is off at 0, and where a window would hold one point alone", () => {
  const points = [5, 1, 9, 2].map((y, x): Point => [x, y]);
  assertEquals(smooth(points, 0), points);
  assertEquals(smooth(points, 0.1), points);
  assertEquals(smooth([], 0.5), []);
});

Deno.test("smooth takes noise away and neither lags behind nor cuts corners off the ends", () => {
  const truth = Array.from({ length: 2000 }, (_, x): Point => [x, 3 + 4 * Math.exp(-x / 500)]);
  let state = 1;
  const noisy = truth.map(([x, y]): Point => {
    state = state * 16807 % 2147483647;
    return [x, y! + state / 2147483647 - 0.5];
  });
  const smoothed = smooth(noisy, 0.05);
  assertLess(distance(smoothed, truth), 0.25);
  const off = smoothed.map(([, y], i) => y! - truth[i][1]!);
  assertAlmostEquals(off.reduce((sum, value) => sum + value, 0) / off.length, 0, 0.02);
});

Deno.test("smooth leaves gaps where they are, and reaches over them", () => {
  const line = Array.from({ length: 100 }, (_, x): Point => [x, x % 10 === 3 ? null : 2 * x]);
  const smoothed = smooth(line, 0.2);
  for (const [x, y] of smoothed) {
    if (x % 10 === 3) assertEquals(y, null);
    else assertAlmostEquals(y!, 2 * x, 1e-9);
  }
});

Deno.test("smooth fits the mean where all points of a window are at one place", () => {
  const smoothed = smooth([[1, 2], [1, 4], [1, 6]], 1);
  assert(smoothed.every(([, y]) => y !== null && Number.isFinite(y)));
});
