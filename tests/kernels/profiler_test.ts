/** Times by waiting; `Program.profile()` has the others. */
import { assertLess } from "@std/assert";
import { timeDispatches } from "../../kernels/profiler.ts";
import { WAITS_IN_CALLS } from "../../kernels/readback.ts";
import { skip } from "../skip.ts";
import { withGpu } from "./check_op.ts";
import { BUSY_MS, busyBehind, withoutTimestamps } from "./clocks.ts";

/** Submissions without work that are waited for first. */
const EMPTY = 5;

Deno.test("a time by waiting has nothing of what its thread does before it hears of the end", ({ name }) =>
  withGpu(async (gpu) => {
    if (!WAITS_IN_CALLS) return skip(name, `of Deno ${Deno.version.deno} nobody knows when calls return`);
    using _busy = busyBehind(GPUQueue.prototype, "onSubmittedWorkDone", EMPTY + 1);
    const nothing = { label: "nothing", flops: 0, bytes: 0, encode() {} };
    const [{ milliseconds }] = await timeDispatches(withoutTimestamps(gpu), [nothing], 1);
    assertLess(milliseconds, BUSY_MS / 2);
  }));
