import { assertEquals, assertLess, assertThrows } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import { movingAverage } from "../../../kernels/ops/moving_average/moving_average.ts";
import { KINDS, randomValues, relativeError, withGpu } from "../check_op.ts";
import { EffectProgram } from "./effect_program.ts";

const MOMENTA = [0.5, 0.9, 0.99, 0.999, 0, 0.25, 0.996, 0.9999, 1, 0.75];

for (const [kind, as] of KINDS) {
  for (const length of [3, 4099]) {
    Deno.test(`movingAverage takes ten steps as a float64 loop does, [${length}]: ${kind}`, () =>
      withGpu(async (gpu) => {
        const shapes = { average: [length], values: [length], momentum: [1] };
        using program = await EffectProgram.compile(as(gpu), shapes, (graph, tensors) => {
          graph.applyAll(movingAverage, [tensors.average, tensors.values, tensors.momentum], {});
        });
        const expected = Float64Array.from(randomValues("average", [length]));
        program.write("average", expected);
        for (const [step, momentum] of MOMENTA.entries()) {
          const values = randomValues(`values ${step}`, [length]);
          const before = await program.read("average");
          program.write("values", values);
          program.write("momentum", [momentum]);
          program.run();
          const after = await program.read("average");
          if (momentum === 0) assertEquals(after, values);
          if (momentum === 1) assertEquals(after, before);
          for (const [i, value] of values.entries()) {
            expected[i] = momentum * expected[i] + (1 - momentum) * value;
          }
          assertLess(relativeError(after, expected), 1e-6, `step ${step}`);
          assertEquals(await program.read("values"), values);
        }
      }));
  }
}

Deno.test("movingAverage needs an average of the values' size", () => {
  const graph = new Graph();
  const inputs = [graph.source("average", [8]), graph.source("values", [12]), graph.source("momentum", [1])];
  assertThrows(() => graph.applyAll(movingAverage, inputs, {}), Error, "moving_average: expected");
});
