import { assert, assertEquals, assertLess, assertThrows } from "@std/assert";
import { elementCount, Graph } from "../../../kernels/graph.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { layerNorm } from "../../../kernels/ops/layer_norm/layer_norm.ts";
import { add } from "../../../kernels/ops/add/add.ts";
import { checkOp, KINDS, randomValues, runOp, withGpu } from "../check_op.ts";

function reference(
  channels: number,
  epsilon: number,
  x: Float64Array,
  weight: Float64Array,
  bias: Float64Array,
) {
  const y = new Float64Array(x.length);
  for (let row = 0; row < x.length / channels; row++) {
    const values = x.subarray(row * channels, (row + 1) * channels);
    const mean = values.reduce((sum, value) => sum + value, 0) / channels;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / channels;
    for (let c = 0; c < channels; c++) {
      y[row * channels + c] = (values[c] - mean) / Math.sqrt(variance + epsilon) * weight[c] + bias[c];
    }
  }
  return y;
}

const SHAPES = [[1, 1, 1, 1], [2, 3, 1, 3], [1, 1, 1, 17], [3, 5, 1, 20], [1, 37, 1, 8], [1, 2, 1, 260], [
  7,
  6,
]];
for (const [kind, as] of KINDS) {
  for (const shape of SHAPES) {
    Deno.test(`layerNorm [${shape}], ${kind}, equals a float64 loop, and so do its gradients`, () =>
      withGpu((gpu) => {
        const channels = shape.at(-1)!;
        return checkOp(as(gpu), {
          name: `[${shape}]`,
          inputs: [
            { shape, values: randomValues("x", shape, 2), gradient: true },
            { shape: [channels], values: randomValues("weight", [channels]), gradient: true },
            { shape: [channels], values: randomValues("bias", [channels]), gradient: true },
          ],
          // Two channels close together would make the gradient in float16 a matter of luck.
          inHalf: channels > 3,
          build: (graph, inputs) => graph.apply(layerNorm, inputs, { epsilon: 1e-2 }),
          reference: (...inputs) =>
            reference(channels, 1e-2, ...inputs as [Float64Array, Float64Array, Float64Array]),
        });
      }));
  }

  Deno.test(`layerNorm inside a residual, ${kind}, adds to the gradient in its own kernel`, () =>
    withGpu((gpu) => {
      const shape = [2, 3, 1, 17];
      return checkOp(as(gpu), {
        name: "residual",
        inputs: [
          { shape, values: randomValues("x", shape, 2), gradient: true },
          { shape: [17], values: randomValues("weight", [17]) },
          { shape: [17], values: randomValues("bias", [17]) },
        ],
        build: (graph, [x, ...parameters]) => {
          const y = graph.apply(layerNorm, [x, ...parameters], { epsilon: 1e-5 });
          return graph.apply(add, [y, x], {});
        },
        reference: (x, weight, bias) => reference(17, 1e-5, x, weight, bias).map((value, i) => value + x[i]),
      });
    }));

  // Each workgroup for GPUs has several parts of rows, and so has each chunk elsewhere.
  Deno.test(`layerNorm of many rows, ${kind}, sums its parameters' gradients over all of them`, () =>
    withGpu((gpu) => {
      const shape = [3, 1500, 1, 5];
      return checkOp(as(gpu), {
        name: "many rows",
        inputs: [
          { shape, values: randomValues("x", shape, 2) },
          { shape: [5], values: randomValues("weight", [5]), gradient: true },
          { shape: [5], values: randomValues("bias", [5]), gradient: true },
        ],
        build: (graph, inputs) => graph.apply(layerNorm, inputs, { epsilon: 1e-6 }),
        reference: (...inputs) => reference(5, 1e-6, ...inputs as [Float64Array, Float64Array, Float64Array]),
      });
    }));

  Deno.test(`layerNorm of a large mean, ${kind}, is as exact as of none`, () =>
    withGpu(async (gpu) => {
      const shape = [3, 1, 1, 50];
      const values = randomValues("x", shape).map((value, i) =>
        value + [1000, -30_000, 0][Math.floor(i / 50)]
      );
      values.fill(7.7, 100); // a row of one value: nothing but its bias is left
      const parameters = ["weight", "bias"].map((name) => randomValues(name, [50]));
      const inputs = [{ shape, values }, ...parameters.map((values) => ({ shape: [50], values }))];
      const [y] = await runOp(as(gpu), inputs, (graph, tensors) => [
        graph.apply(layerNorm, tensors, { epsilon: 1e-6 }),
      ]);
      const found = unpadRows(y, shape);
      const [x, weight, bias] = [values, ...parameters].map((data) => Float64Array.from(data));
      const expected = reference(50, 1e-6, x, weight, bias);
      for (const [i, value] of expected.entries()) {
        // Of the row of one value the mean is exact to an ulp, which 1e-6 below the root makes small.
        assertLess(Math.abs(found[i] - value), i < 100 ? 3e-6 : 1e-3, `at ${i}`);
      }
    }));

  Deno.test(`layerNorm of a row with NaN or infinity, ${kind}, is NaN in that row alone`, () =>
    withGpu(async (gpu) => {
      const shape = [4, 1, 1, 6];
      const values = randomValues("x", shape);
      values[7] = NaN;
      values[20] = Infinity;
      const ones = { shape: [6], values: new Float32Array(6).fill(1) };
      const [padded] = await runOp(as(gpu), [{ shape, values }, ones, ones], (graph, tensors) => [
        graph.apply(layerNorm, tensors, { epsilon: 1e-6 }),
      ]);
      const found = unpadRows(padded, shape);
      assertEquals(
        Array.from(
          { length: elementCount(shape) / 6 },
          (_, row) => found.subarray(6 * row, 6 * row + 6).every(Number.isNaN),
        ),
        [false, true, false, true],
      );
      assert(found.subarray(0, 6).every(Number.isFinite) && found.subarray(12, 18).every(Number.isFinite));
      assertEquals(padded, padRows(found, shape), "pad lanes");
    }));
}

Deno.test("layerNorm refuses parameters of other channels", () => {
  const graph = new Graph();
  const [x, weight, bias] = [[2, 3], [3], [4]].map((shape, i) => graph.source(`input ${i}`, shape));
  assertThrows(
    () => graph.apply(layerNorm, [x, weight, bias], { epsilon: 1e-6 }),
    Error,
    "layer_norm: expected x [..., c], weight [c] and bias [c], found input 0 [2,3], input 1 [3], input 2 [4]",
  );
});
