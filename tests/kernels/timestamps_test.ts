/** What a tick of timestamps is. */
import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { measureTimestampPeriod, timestampPeriod } from "../../kernels/timestamps.ts";
import { skip } from "../skip.ts";
import { withGpu } from "./check_op.ts";

Deno.test("timestampPeriod() is a nanosecond on software adapters, and what two clocks say on others", ({ name }) =>
  withGpu(async (gpu) => {
    if (!gpu.device.features.has("timestamp-query")) {
      return skip(name, "the adapter has no timestamp queries");
    }
    const measured = await measureTimestampPeriod(gpu);
    assertGreater(measured, 0.5);
    if (gpu.target.isSoftware) {
      assertLess(measured, 4);
      assertEquals(await timestampPeriod(gpu), 1);
      // As it is for a GPU of the same clock.
      const hardware = { ...gpu, target: { ...gpu.target, isSoftware: false } };
      assertEquals(await timestampPeriod(hardware), 1);
    }
    assertEquals(await timestampPeriod(gpu), await timestampPeriod(gpu));
  }));

/** Milliseconds that a Worker may compute without a break, as for its first weights. */
const BUSY_MS = 600;

/** Keeps the thread busy once: before it hears of the `nth` buffer that is mapped. */
function busyBehindMapping(nth: number): Disposable {
  const { mapAsync } = GPUBuffer.prototype;
  let times = 0;
  GPUBuffer.prototype.mapAsync = function (...args) {
    const mapped = mapAsync.apply(this, args);
    if (++times === nth) {
      queueMicrotask(() => {
        const end = performance.now() + BUSY_MS;
        while (performance.now() < end);
      });
    }
    return mapped;
  };
  return { [Symbol.dispose]: () => GPUBuffer.prototype.mapAsync = mapAsync };
}

for (const [nth, clock] of [[1, "first"], [2, "second"]] as const) {
  const title = `measureTimestampPeriod() finds the same where its thread is busy behind the ${clock} stamp`;
  Deno.test(title, () =>
    withGpu(async (gpu) => {
      if (!gpu.device.features.has("timestamp-query")) {
        return skip(title, "the adapter has no timestamp queries");
      }
      const alone = await measureTimestampPeriod(gpu);
      using _busy = busyBehindMapping(nth);
      const busy = await measureTimestampPeriod(gpu);
      assertGreater(busy, alone / 3);
      assertLess(busy, alone * 3);
    }));
}
