/** What a tick of timestamps is. */
import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { viewOf } from "../../kernels/gpu.ts";
import { measureTimestampPeriod, timestampPeriod } from "../../kernels/timestamps.ts";
import { skip } from "../skip.ts";
import { withGpu } from "./check_op.ts";
import { busyBehind, countStampedDispatches, withoutTimestamps, withZeroTimestamps } from "./clocks.ts";

Deno.test("timestampPeriod() is a nanosecond on software adapters, and what two clocks say on others", ({ name }) =>
  withGpu(async (gpu) => {
    const period = await timestampPeriod(gpu);
    if (period === undefined) return skip(name, "the device has no timestamps");
    const measured = await measureTimestampPeriod(gpu);
    assertGreater(measured!, 0.5);
    if (gpu.target.isSoftware) {
      assertLess(measured!, 4);
      assertEquals(period, 1);
      // As it is for a GPU of the same clock.
      const hardware = { ...gpu, device: viewOf(gpu.device), target: { ...gpu.target, isSoftware: false } };
      assertEquals(await timestampPeriod(hardware), 1);
    }
    assertEquals(await timestampPeriod(gpu), period);
  }));

for (const [nth, clock] of [[1, "first"], [2, "second"]] as const) {
  const title = `measureTimestampPeriod() finds the same where its thread is busy behind the ${clock} stamp`;
  Deno.test(title, () =>
    withGpu(async (gpu) => {
      if (await timestampPeriod(gpu) === undefined) return skip(title, "the device has no timestamps");
      const alone = await measureTimestampPeriod(gpu);
      using _busy = busyBehind(GPUBuffer.prototype, "mapAsync", nth);
      const busy = await measureTimestampPeriod(gpu);
      assertGreater(busy!, alone! / 3);
      assertLess(busy!, alone! * 3);
    }));
}

Deno.test("timestampPeriod() is undefined of a device without timestamps, and of one that gives zeros for them", () =>
  withGpu(async (gpu) => {
    assertEquals(await timestampPeriod(withoutTimestamps(gpu)), undefined);
    using device = withZeroTimestamps(gpu);
    assertEquals(await timestampPeriod(device.zeros), undefined);
    assertEquals(await measureTimestampPeriod(device.zeros), undefined);
  }));

Deno.test("measureTimestampPeriod() dispatches something wherever it wants a stamp", ({ name }) =>
  withGpu(async (gpu) => {
    if (!gpu.device.features.has("timestamp-query")) {
      return skip(name, "the adapter has no timestamp queries");
    }
    using dispatches = countStampedDispatches();
    await measureTimestampPeriod(gpu);
    assertEquals(dispatches.counts, [1, 1]);
  }));
