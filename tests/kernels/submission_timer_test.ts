/** How long the device takes for a submission. */
import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { Graph } from "../../kernels/graph.ts";
import { padRows } from "../../kernels/layout.ts";
import { matmulTransposed } from "../../kernels/ops/matmul_transposed/matmul_transposed.ts";
import { Program } from "../../kernels/program.ts";
import { RepeatedRuns } from "../../kernels/repeated_run.ts";
import { SubmissionTimer } from "../../kernels/submission_timer.ts";
import { timestampPeriod } from "../../kernels/timestamps.ts";
import { skip } from "../skip.ts";
import { randomValues, withGpu } from "./check_op.ts";
import { countStampedDispatches, withZeroTimestamps } from "./clocks.ts";

/** Sides of matrices, and how often two are multiplied in a submission. */
const LITTLE = { side: 16, times: 1 };
const MUCH = { side: 512, times: 8 };

Deno.test("SubmissionTimer times each submission by itself, also when it is read behind the next one", ({ name }) =>
  withGpu(async (gpu) => {
    using timer = SubmissionTimer.on(gpu);
    assertEquals(timer !== undefined, gpu.device.features.has("timestamp-query"));
    if (timer === undefined || await timestampPeriod(gpu) === undefined) {
      return skip(name, "the device has no timestamps");
    }
    const compile = async ({ side, times }: typeof LITTLE) => {
      const graph = new Graph();
      const inputs = [[side, 1, 1, side], [1, 1, side, side]].map((shape, i) =>
        graph.source(`matrix ${i}`, shape)
      );
      const product = graph.apply(matmulTransposed, inputs, {});
      const program = await Program.compile(gpu, {
        label: `product of ${side}`,
        graph,
        inputs,
        outputs: [product],
      });
      for (const matrix of inputs) {
        program.write(matrix, padRows(randomValues(matrix.label, matrix.shape), matrix.shape));
      }
      return Array.from({ length: times }, () => program);
    };
    const [little, much] = [await compile(LITTLE), await compile(MUCH)];
    const runs = new RepeatedRuns(gpu);
    const submit = (programs: readonly Program[]) => {
      runs.submit(programs, undefined, timer);
      return timer.read();
    };
    await Promise.all([submit(little), submit(much)]); // the first ones may be compiled on the way
    const start = performance.now();
    const times = await Promise.all([little, much, little].map(submit));
    const seconds = (performance.now() - start) / 1000;
    const [before, between, behind] = times.map((time) => time!);
    for (const time of [before, between, behind]) assertGreater(time, 0);
    assertGreater(between, 3 * before);
    assertGreater(between, 3 * behind);
    assertLess(before + between + behind, seconds);
    for (const [program] of [little, much]) program.destroy();
  }));

Deno.test("SubmissionTimer dispatches something in its passes, and tells no time where timestamps are zeros", ({ name }) =>
  withGpu(async (gpu) => {
    using device = withZeroTimestamps(gpu);
    using timer = SubmissionTimer.on(device.zeros);
    if (timer === undefined) return skip(name, "the adapter has no timestamp queries");
    await timestampPeriod(device.zeros); // it has passes of its own
    using dispatches = countStampedDispatches();
    new RepeatedRuns(device.zeros).submit([], undefined, timer);
    assertEquals(dispatches.counts, [1, 1]);
    assertEquals(await timer.read(), undefined);
  }));
