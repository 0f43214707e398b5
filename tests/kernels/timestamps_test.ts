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
