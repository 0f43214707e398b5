import { assertEquals } from "@std/assert";
import { elementCount, Graph } from "../../../kernels/graph.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { add } from "../../../kernels/ops/add/add.ts";
import { channelSum } from "../../../kernels/ops/channel_sum/channel_sum.ts";
import { globalAveragePool } from "../../../kernels/ops/global_average_pool/global_average_pool.ts";
import { l2Normalize } from "../../../kernels/ops/l2_normalize/l2_normalize.ts";
import { maxPool } from "../../../kernels/ops/max_pool/max_pool.ts";
import { normalizePixels } from "../../../kernels/ops/normalize_pixels/normalize_pixels.ts";
import { sgd } from "../../../kernels/ops/sgd/sgd.ts";
import { Program } from "../../../kernels/program.ts";
import { checkOp, KINDS, randomValues, relativeError, withGpu } from "../check_op.ts";
import { assert } from "@std/assert";

const SHAPES = [[1, 1, 1, 1], [2, 3, 5, 3], [3, 4, 4, 17]];

for (const shape of SHAPES) {
  Deno.test(`add [${shape}] equals a float64 loop, and so do its gradients`, () =>
    withGpu((gpu) =>
      checkOp(gpu, {
        inputs: ["a", "b"].map((name) => ({ shape, values: randomValues(name, shape), gradient: true })),
        build: (graph, inputs) => graph.apply(add, inputs, {}),
        reference: (a, b) => a.map((value, i) => value + b[i]),
      })
    ));

  Deno.test(`l2Normalize [${shape}] equals a float64 loop, and so does its gradient`, () =>
    withGpu((gpu) =>
      checkOp(gpu, {
        inputs: [{ shape, values: randomValues("x", shape), gradient: shape[3] > 1 }],
        build: (graph, inputs) => graph.apply(l2Normalize, inputs, {}),
        reference: (x) => {
          const d = shape[3];
          const squares = new Float64Array(x.length / d);
          for (const [i, value] of x.entries()) squares[Math.floor(i / d)] += value * value;
          return x.map((value, i) => value / Math.max(Math.sqrt(squares[Math.floor(i / d)]), 1e-12));
        },
      })
    ));

  Deno.test(`channelSum [${shape}] equals a float64 loop`, () =>
    withGpu((gpu) =>
      checkOp(gpu, {
        inputs: [{ shape, values: randomValues("x", shape) }],
        build: (graph, inputs) => graph.apply(channelSum, inputs, {}),
        reference: (x) => channelSums(shape, x),
      })
    ));
}

function averages([n, h, w, c]: readonly number[], x: Float64Array): Float64Array {
  const y = new Float64Array(n * c);
  for (let i = 0; i < x.length; i++) y[Math.floor(i / (h * w * c)) * c + i % c] += x[i] / (h * w);
  return y;
}

function channelSums(shape: readonly number[], x: Float64Array): Float64Array {
  const channels = shape.at(-1)!;
  const y = new Float64Array(channels);
  for (let i = 0; i < x.length; i++) y[i % channels] += x[i];
  return y;
}

for (const [kind, as] of KINDS) {
  // For GPUs the last but two has more rows than a workgroup reads at once, the last more vec4s than side by side.
  for (const shape of [...SHAPES, [2, 23, 24, 5], [2, 5, 4, 70], [2, 3, 1, 1040]]) {
    Deno.test(`globalAveragePool [${shape}], ${kind}, equals a float64 loop, and so does its gradient`, () =>
      withGpu((gpu) =>
        checkOp(as(gpu), {
          name: `globalAveragePool [${shape}]`,
          inputs: [{ shape, values: randomValues("x", shape), gradient: true }],
          build: (graph, inputs) => graph.apply(globalAveragePool, inputs, {}),
          reference: (x) => averages(shape, x),
        })
      ));
  }

  Deno.test(`globalAveragePool of many pixels, ${kind}, adds parts of an image`, () =>
    withGpu((gpu) => {
      const shape = [2, 64, 32, 5];
      return checkOp(as(gpu), {
        inputs: [{ shape, values: randomValues("x", shape) }],
        build: (graph, inputs) => graph.apply(globalAveragePool, inputs, {}),
        reference: (x) => averages(shape, x),
      });
    }));

  // For GPUs the rows of the first are added up at once.
  for (const shape of [[3, 9, 7, 6], [9, 31, 7, 6]]) {
    Deno.test(`channelSum [${shape}], ${kind}, adds partial sums`, () =>
      withGpu((gpu) =>
        checkOp(as(gpu), {
          inputs: [{ shape, values: randomValues("x", shape) }],
          build: (graph, inputs) => graph.apply(channelSum, inputs, {}),
          reference: (x) => channelSums(shape, x),
        })
      ));
  }
}

function maxPoolReference(
  shape: number[],
  kernel: number,
  stride: number,
  padding: number,
  x: Float64Array,
): Float64Array {
  const [n, h, w, c] = shape;
  const pooled = (length: number) => Math.floor((length + 2 * padding - kernel) / stride) + 1;
  const y: number[] = [];
  for (let b = 0; b < n; b++) {
    for (let oy = 0; oy < pooled(h); oy++) {
      for (let ox = 0; ox < pooled(w); ox++) {
        for (let channel = 0; channel < c; channel++) {
          let best = -Infinity;
          for (let ky = 0; ky < kernel; ky++) {
            for (let kx = 0; kx < kernel; kx++) {
              const iy = oy * stride + ky - padding;
              const ix = ox * stride + kx - padding;
              if (iy < 0 || ix < 0 || iy >= h || ix >= w) continue;
              best = Math.max(best, x[((b * h + iy) * w + ix) * c + channel]);
            }
          }
          y.push(best);
        }
      }
    }
  }
  return Float64Array.from(y);
}

/** Up to 1,021 values, no two of them the same, that float16 has: rounding makes none the winner that was not. */
function distinctHalves(shape: readonly number[]): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: elementCount(shape) }, (_, i) => (i * 389 % 1021) / 1024 - 0.5);
}

for (
  const [shape, kernel, stride, padding] of [
    [[1, 1, 1, 1], 3, 2, 1],
    [[2, 5, 7, 3], 3, 2, 1],
    [[2, 6, 4, 17], 2, 2, 0],
    [[1, 7, 7, 5], 3, 1, 1],
    [[1, 6, 8, 5], 3, 2, 0], // the last row and column are in no window
  ] as const
) {
  Deno.test(`maxPool [${shape}] by ${kernel} stride ${stride} equals a float64 loop, and so does its gradient`, () =>
    withGpu((gpu) =>
      checkOp(gpu, {
        inputs: [{ shape, values: distinctHalves(shape), gradient: true }],
        build: (graph, [x]) => graph.applyAll(maxPool, [x], { kernel, stride, padding })[0],
        reference: (x) => maxPoolReference([...shape], kernel, stride, padding, x),
      })
    ));
}

Deno.test("normalizePixels() unpacks RGBA8 and normalises each channel", () =>
  withGpu(async (gpu) => {
    const mean = [0.485, 0.456, 0.406] as const;
    const deviation = [0.229, 0.224, 0.225] as const;
    const bytes = Uint8Array.from({ length: 2 * 3 * 5 * 4 }, (_, i) => (i * 37) % 256);
    const graph = new Graph();
    const pixels = graph.source("pixels", [2, 3, 5], "u32");
    const output = graph.apply(normalizePixels, [pixels], { mean, deviation });
    using program = await Program.compile(gpu, { label: "test", graph, inputs: [pixels], outputs: [output] });
    program.write(pixels, bytes);
    program.run();
    const padded = await program.read(output);
    for (let i = 0; i < 30; i++) {
      assertEquals(padded[i * 4 + 3], 0);
      for (let c = 0; c < 3; c++) {
        const expected = (bytes[i * 4 + c] / 255 - mean[c]) / deviation[c];
        assert(Math.abs(padded[i * 4 + c] - expected) < 1e-5);
      }
    }
  }));

Deno.test("sgd() takes PyTorch's steps with momentum and weight decay", () =>
  withGpu(async (gpu) => {
    const shape = [7];
    const graph = new Graph();
    const [w, g, v] = ["w", "g", "v"].map((name) => graph.source(name, shape));
    const rate = graph.source("rate", [1]);
    graph.applyAll(sgd, [w, g, v, rate], { momentum: 0.9, weightDecay: 0.01 });
    using program = await Program.compile(gpu, {
      label: "test",
      graph,
      inputs: [w, g, v, rate],
      outputs: [],
    });
    const weights = Float64Array.from(randomValues("w", shape));
    const velocity = new Float64Array(7);
    program.write(w, padRows(weights, shape));
    program.write(v, padRows(velocity, shape));
    for (const [step, learningRate] of [0.5, 0.25, 0.1].entries()) {
      const gradient = randomValues(`g${step}`, shape);
      program.write(g, padRows(gradient, shape));
      program.write(rate, padRows([learningRate], [1]));
      program.run();
      for (let i = 0; i < 7; i++) {
        velocity[i] = 0.9 * velocity[i] + gradient[i] + 0.01 * weights[i];
        weights[i] -= learningRate * velocity[i];
      }
    }
    assert(relativeError(unpadRows(await program.read(w), shape), weights) < 1e-6);
    assert(relativeError(unpadRows(await program.read(v), shape), velocity) < 1e-6);
  }));
