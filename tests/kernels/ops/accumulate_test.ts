import { assertEquals, assertLess, assertThrows } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import { accumulate } from "../../../kernels/ops/accumulate/accumulate.ts";
import { KINDS, randomValues, relativeError, withGpu } from "../check_op.ts";
import { EffectProgram } from "./effect_program.ts";

for (const [kind, as] of KINDS) {
  for (const length of [3, 4099]) {
    Deno.test(`accumulate sums the weighted gradients of a group, [${length}]: ${kind}`, () =>
      withGpu(async (gpu) => {
        const shapes = { sum: [length], gradient: [length], group: [2] };
        using program = await EffectProgram.compile(as(gpu), shapes, (graph, tensors) => {
          graph.applyAll(accumulate, [tensors.sum, tensors.gradient, tensors.group], {});
        });
        // What the group before left is not looked at, be it no number.
        const left = [NaN, Infinity, 7].flatMap((value) => [value, -value]);
        program.write("sum", Array.from({ length }, (_, i) => left[i % left.length]));
        for (const size of [3, 1, 4]) {
          const expected = new Float64Array(length);
          for (let index = 0; index < size; index++) {
            const gradient = randomValues(`gradient ${index} of ${size}`, [length]);
            program.write("gradient", gradient);
            program.write("group", [index, 1 / size]);
            program.run();
            for (const [i, value] of gradient.entries()) expected[i] += value / size;
            assertLess(
              relativeError(await program.read("sum"), expected),
              1e-6,
              `batch ${index} of ${size}`,
            );
            assertEquals(await program.read("gradient"), gradient);
          }
        }
        // A gradient that is no number stays one until the group ends.
        for (let index = 0; index < 3; index++) {
          program.write("gradient", new Float32Array(length).fill(index === 1 ? NaN : 1));
          program.write("group", [index, 1 / 3]);
          program.run();
        }
        assertEquals(await program.read("sum"), new Float32Array(length).fill(NaN));
      }));
  }
}

Deno.test("accumulate needs a sum of the gradients' size", () => {
  const graph = new Graph();
  const inputs = [graph.source("sum", [8]), graph.source("gradient", [12]), graph.source("group", [2])];
  assertThrows(() => graph.applyAll(accumulate, inputs, {}), Error, "accumulate: expected");
});
