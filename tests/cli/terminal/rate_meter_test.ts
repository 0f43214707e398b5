import { assertAlmostEquals, assertEquals } from "@std/assert";
import { RateMeter } from "../../../cli/terminal/rate_meter.ts";

Deno.test("RateMeter knows no rate until something is done", () => {
  assertEquals(new RateMeter(5).perSecond(), 0);
});

Deno.test("RateMeter forgets the wait for the first step once there is a second", () => {
  const meter = new RateMeter(0);
  meter.add(32, 10);
  assertAlmostEquals(meter.perSecond(), 3.2);
  meter.add(32, 10.5);
  assertAlmostEquals(meter.perSecond(), 64);
});

Deno.test("RateMeter follows a change within its window of 30 seconds", () => {
  const meter = new RateMeter(0);
  let now = 0;
  for (; now < 100; now++) meter.add(10, now + 1);
  assertAlmostEquals(meter.perSecond(), 10);
  for (; now < 140; now++) meter.add(50, now + 1);
  assertAlmostEquals(meter.perSecond(), 50);
});

Deno.test("RateMeter has a rate when every step takes longer than its window", () => {
  const meter = new RateMeter(0);
  for (const time of [60, 120, 180, 240]) meter.add(6, time);
  assertAlmostEquals(meter.perSecond(), 0.1);
});
