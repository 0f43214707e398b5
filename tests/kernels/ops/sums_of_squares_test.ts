/** Sums of squares of many tensors at once, against float64. */
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { sumsOfSquares } from "../../../kernels/ops/sums_of_squares/sums_of_squares.ts";
import { Program } from "../../../kernels/program.ts";
import { randomValues, withGpu } from "../check_op.ts";

/** Shapes of the tensors that are summed at once. */
const CASES: readonly (readonly (readonly number[])[])[] = [
  [[1]],
  [[100_003]],
  [[3, 5]],
  [[7], [4097], [2, 3, 17]],
];

/** Factors of the values, and what they are divided by before they are squared; 1e24 squared overflows float32. */
const SCALES: readonly (readonly [factor: number, divisor: number])[] = [[1, 1], [1, 0.25], [1e24, 2 ** 80]];

for (const shapes of CASES) {
  Deno.test(`sumsOfSquares() sums those of ${shapes.map((shape) => `[${shape}]`).join(", ")}, scaled ones too`, () =>
    withGpu(async (gpu) => {
      const graph = new Graph();
      const divisor = graph.source("divisor", [1]);
      const tensors = shapes.map((shape, i) => graph.source(`tensor ${i}`, shape));
      const sums = graph.apply(sumsOfSquares, [divisor, ...tensors], {});
      using program = await Program.compile(gpu, {
        label: "sums",
        graph,
        inputs: [divisor, ...tensors],
        outputs: [sums],
      });
      for (const [factor, divided] of SCALES) {
        const values = shapes.map((shape, i) => randomValues(`tensor ${i}`, shape, factor));
        program.write(divisor, padRows([divided], [1]));
        for (const [i, tensor] of tensors.entries()) program.write(tensor, padRows(values[i], shapes[i]));
        program.run();
        const parts = unpadRows(await program.read(sums), sums.shape);
        assertEquals(sums.shape, [shapes.length, 16, 1]);
        for (const [i, own] of values.entries()) {
          const found = parts.subarray(16 * i, 16 * (i + 1)).reduce((sum, part) => sum + part, 0);
          const expected = own.reduce((sum, value) => sum + (value / divided) ** 2, 0);
          assertAlmostEquals(found / expected, 1, 1e-5, `tensor ${i} times ${factor} / ${divided}`);
        }
      }
    }));
}

Deno.test("sumsOfSquares() of what is not finite is not finite, and of the tensors beside it is as ever", () =>
  withGpu(async (gpu) => {
    const graph = new Graph();
    const [divisor, bad, good] = ["divisor", "bad", "good"].map((name) => graph.source(name, [1]));
    const sums = graph.apply(sumsOfSquares, [divisor, bad, good], {});
    using program = await Program.compile(gpu, {
      label: "sums",
      graph,
      inputs: [divisor, bad, good],
      outputs: [sums],
    });
    program.write(divisor, padRows([1], [1]));
    program.write(good, padRows([3], [1]));
    for (const value of [NaN, Infinity]) {
      program.write(bad, padRows([value], [1]));
      program.run();
      const parts = unpadRows(await program.read(sums), sums.shape);
      assertEquals(Number.isFinite(parts[0]), false, String(value));
      assertEquals(parts.subarray(16).reduce((sum, part) => sum + part, 0), 9);
    }
  }));
