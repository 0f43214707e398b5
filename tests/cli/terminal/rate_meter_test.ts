import { assertAlmostEquals, assertEquals } from "@std/assert";
import { RateMeter } from "../../../cli/terminal/rate_meter.ts";

Deno.test("RateMeter knows no rate until things were done for a second", () => {
  const meter = new RateMeter(1);
  assertEquals(meter.perSecond(), undefined);
  meter.add(32, 10);
  meter.add(32, 10.001);
  assertEquals(meter.perSecond(), undefined);
  meter.add(32, 11);
  assertEquals(meter.perSecond(), 64);
});

Deno.test("RateMeter leaves out the wait for the first step, and the second, which comes at once after it", () => {
  const meter = new RateMeter(2);
  for (const time of [10, 10.001, 10.501]) meter.add(32, time);
  assertEquals(meter.perSecond(), undefined);
  meter.add(32, 11.001);
  assertAlmostEquals(meter.perSecond()!, 64);
});

Deno.test("RateMeter follows a change within its window of 30 seconds", () => {
  const meter = new RateMeter(1);
  let now = 0;
  for (; now < 100; now++) meter.add(10, now + 1);
  assertAlmostEquals(meter.perSecond()!, 10);
  for (; now < 140; now++) meter.add(50, now + 1);
  assertAlmostEquals(meter.perSecond()!, 50);
});

Deno.test("RateMeter has a rate when every step takes longer than its window", () => {
  const meter = new RateMeter(1);
  for (const time of [60, 120, 180, 240]) meter.add(6, time);
  assertAlmostEquals(meter.perSecond()!, 0.1);
});
