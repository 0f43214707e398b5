import { assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import { placeOf, secondsAt, secondsOf, secondsPerStep } from "../../ui/page/run_times.ts";
import type { CurvePoint } from "../../ui/records.ts";

/** Points every so many steps, of which each takes two seconds. */
function pointsOf(count: number, stride: number): CurvePoint[] {
  return Array.from({ length: count }, (_, i) => [stride * (i + 1), 5, 0.03, 36, 1e9 + 2 * stride * i]);
}

Deno.test("placeOf finds the first point at x or behind", () => {
  const points = pointsOf(3, 10);
  assertEquals([0, 10, 11, 30, 31].map((x) => placeOf(points, x)), [0, 0, 1, 2, 3]);
  assertEquals(placeOf([], 1), 0);
});

Deno.test("secondsAt lies between the points around a step, and at an end beyond it", () => {
  const points = pointsOf(3, 10);
  const seconds = secondsOf(points);
  assertEquals(seconds, [0, 20, 40]);
  assertEquals([5, 10, 15, 30, 99].map((step) => secondsAt(points, seconds, step)), [0, 0, 10, 40, 40]);
  assertEquals(secondsAt([], [], 1), null);
  const timeless = points.map((
    [step, loss, lr, rate],
    i,
  ): CurvePoint => [step, loss, lr, rate, i === 1 ? null : 7]);
  assertEquals([10, 15, 25].map((step) => secondsAt(timeless, secondsOf(timeless), step)), [0, null, null]);
});

Deno.test("secondsPerStep is the median of the steps around one", () => {
  const points = pointsOf(40, 10).map(([step, loss, lr, rate, time], i): CurvePoint => [
    ...[step, loss, lr, rate] as const,
    time! + (i >= 20 ? 3600 : 0),
  ]);
  for (const step of [1, 200, 205, 400, 999]) assertAlmostEquals(secondsPerStep(points, step)!, 2);
  assertEquals(secondsPerStep([], 1), null);
});

Deno.test("the times of a long run's steps are found without a look at each of its points", () => {
  let looks = 0;
  const counted = new Proxy(pointsOf(20_000, 50), {
    get(points, name) {
      looks += 1;
      return Reflect.get(points, name);
    },
  });
  const seconds = secondsOf(pointsOf(20_000, 50));
  secondsAt(counted, seconds, 777_777);
  secondsPerStep(counted, 777_777);
  assertLess(looks, 200);
});
