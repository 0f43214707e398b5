import { assertAlmostEquals, assertEquals, assertLess, assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../../errors.ts";
import { differentiate } from "../../../kernels/autodiff.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { Graph } from "../../../kernels/graph.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { batchNorm, batchStatistics } from "../../../kernels/ops/batch_norm/batch_norm.ts";
import { Program, runSegments } from "../../../kernels/program.ts";
import { IS_LONG } from "../../long.ts";
import type { Activation } from "../../../kernels/ops/activation/activation.ts";
import {
  asHardware,
  checkOp,
  KINDS,
  randomValues,
  relativeError,
  weightedSum,
  withGpu,
} from "../check_op.ts";
import { type Gather, gatherOnOne } from "../devices.ts";
import { ACTIVATION_FUNCTIONS } from "./activation_functions.ts";

const EPSILON = 1e-5;
const MOMENTUM = 0.1;

/** What was computed last: a difference changes one number, and by it the values of one channel alone. */
let last: { activation?: Activation; inputs: Float64Array[]; y: Float64Array } | undefined;

function reference(
  activation: Activation | undefined,
  x: Float64Array,
  gamma: Float64Array,
  beta: Float64Array,
  residual?: Float64Array,
): Float64Array {
  const channels = gamma.length;
  const rows = x.length / channels;
  const now = [x, gamma, beta, residual ?? new Float64Array()];
  const before = last !== undefined && last.activation === activation &&
      last.inputs.every((input, i) => input.length === now[i].length)
    ? last
    : undefined;
  const y = before?.y ?? new Float64Array(x.length);
  const isSame = (c: number) => {
    for (const [i, input] of before!.inputs.entries()) {
      for (let at = c; at < input.length; at += channels) if (input[at] !== now[i][at]) return false;
    }
    return true;
  };
  for (let c = 0; c < channels; c++) {
    if (before !== undefined && isSame(c)) continue;
    let mean = 0;
    for (let row = 0; row < rows; row++) mean += x[row * channels + c] / rows;
    let variance = 0;
    for (let row = 0; row < rows; row++) variance += (x[row * channels + c] - mean) ** 2 / rows;
    for (let row = 0; row < rows; row++) {
      const at = row * channels + c;
      const z = (x[at] - mean) / Math.sqrt(variance + EPSILON) * gamma[c] + beta[c] + (residual?.[at] ?? 0);
      y[at] = activation === undefined ? z : ACTIVATION_FUNCTIONS[activation](z);
    }
  }
  last = { activation, inputs: now.map((input) => input.slice()), y };
  return y.slice();
}

// For GPUs the last but one has more vec4s than a workgroup takes side by side, and the last is in several parts.
const SHAPES = [[3, 1, 1, 1], [3, 2, 3, 3], [5, 4, 4, 17], [6, 7, 9, 8], [2, 1, 1, 130], [1, 65, 33, 1]];
for (const [[kind, as], shape] of KINDS.flatMap((kind) => SHAPES.map((shape) => [kind, shape] as const))) {
  for (const activation of [undefined, "relu", "swish", "hard_swish"] as const) {
    for (const residual of [false, true]) {
      if (residual && activation !== undefined && activation !== "relu") continue;
      if (shape[1] > 10 && (activation !== "swish" || as !== asHardware)) continue; // seconds, once
      // The text of an activation is the same for all shapes, and that of [6,7,9,8] is [5,4,4,17]'s with other numbers.
      const ignore = !IS_LONG && (shape[2] === 9 || (activation === "hard_swish" && shape[2] !== 3));
      const title = `batchNorm [${shape}], ${kind}${residual ? " + residual" : ""}${
        activation ? ` + ${activation}` : ""
      }`;
      Deno.test(
        `${title} equals a float64 loop, and so do its gradients`,
        { ignore },
        () =>
          withGpu(async (gpu) => {
            const channels = shape[3];
            await checkOp(as(gpu), {
              name: `[${shape}] ${activation} ${residual}`,
              inputs: [
                { shape, values: randomValues("x", shape, 3), gradient: true },
                { shape: [channels], values: randomValues("gamma", [channels]), gradient: true },
                { shape: [channels], values: randomValues("beta", [channels]), gradient: true },
                ...(residual ? [{ shape, values: randomValues("residual", shape), gradient: true }] : []),
              ],
              build: (graph, [x, gamma, beta, ...extra]) => {
                const statistics = graph.apply(batchStatistics, [x], {});
                return graph.apply(batchNorm, [x, gamma, beta, statistics, ...extra], {
                  epsilon: EPSILON,
                  activation,
                  residual,
                });
              },
              reference: (x, gamma, beta, extra) => reference(activation, x, gamma, beta, extra),
            });
          }),
      );
    }
  }
}

// Groups of images begin where a buffer can be bound: at multiples of 256 bytes.
for (const [kind, as] of KINDS) {
  for (const [shape, splits] of [[[4, 4, 4, 4], 2], [[24, 2, 2, 17], 3], [[8, 3, 3, 64], 4]] as const) {
    for (const [activation, residual] of [[undefined, false], ["relu", true], ["swish", false]] as const) {
      const title = `batchNorm [${shape}] in ${splits} groups, ${kind}${residual ? " + residual" : ""}${
        activation ? ` + ${activation}` : ""
      }`;
      Deno.test(`${title} is that of each group by itself, and so are its gradients`, () =>
        withGpu(async (gpu) => {
          const channels = shape[3];
          await checkOp(as(gpu), {
            name: `[${shape}] ${activation} ${residual} in ${splits}`,
            inputs: [
              { shape, values: randomValues("x", shape, 3), gradient: shape[3] < 64 },
              { shape: [channels], values: randomValues("gamma", [channels]), gradient: true },
              { shape: [channels], values: randomValues("beta", [channels]), gradient: true },
              ...residual
                ? [{ shape, values: randomValues("residual", shape), gradient: shape[3] < 64 }]
                : [],
            ],
            build: (graph, [x, gamma, beta, ...extra]) => {
              const statistics = graph.applyAll(batchStatistics, [x], { splits });
              return graph.apply(batchNorm, [x, gamma, beta, ...statistics, ...extra], {
                epsilon: EPSILON,
                activation,
                residual,
                splits,
              });
            },
            reference: (x, gamma, beta, extra) => {
              const y = new Float64Array(x.length);
              const size = x.length / splits;
              for (let first = 0; first < x.length; first += size) {
                const of = (values?: Float64Array) => values?.subarray(first, first + size);
                y.set(reference(activation, of(x)!, gamma, beta, of(extra)), first);
              }
              return y;
            },
          });
        }));
    }
  }

  for (const bad of [0, 1, 2]) {
    Deno.test(`a batch whose group ${bad} overflowed leaves its channel's running statistics, ${kind}`, () =>
      withGpu(async (gpu) => {
        const graph = new Graph();
        const [x, mean, variance] = [[6, 4, 2, 4], [4], [4]].map((shape) => graph.source("input", shape));
        graph.applyAll(batchStatistics, [x, mean, variance], { momentum: 0.1, splits: 3 });
        using program = await Program.compile(as(gpu), {
          label: "test",
          graph,
          inputs: [x, mean, variance],
          outputs: [],
        });
        const values = randomValues("x", x.shape, 3);
        values[bad * 64 + 9] = Infinity; // of channel 1
        program.write(x, values);
        program.write(mean, padRows([7, 7, 7, 7], [4]));
        program.write(variance, padRows([5, 5, 5, 5], [4]));
        program.run();
        for (const [read, before] of [[mean, 7], [variance, 5]] as const) {
          const after = await program.read(read);
          assertEquals([...after].map((value) => value === before), [false, true, false, false]);
        }
      }));
  }

  Deno.test(`batchStatistics of groups move running ones towards their mean, ${kind}`, () =>
    withGpu(async (gpu) => {
      const graph = new Graph();
      const [x, mean, variance] = [[4, 4, 4, 4], [4], [4]].map((shape) => graph.source("input", shape));
      graph.applyAll(batchStatistics, [x, mean, variance], { momentum: 0.1, splits: 2 });
      using program = await Program.compile(as(gpu), {
        label: "test",
        graph,
        inputs: [x, mean, variance],
        outputs: [],
      });
      const values = randomValues("x", [4, 4, 4, 4], 3);
      program.write(x, padRows(values, x.shape));
      program.write(mean, padRows([0, 10, 20, 1], [4]));
      program.write(variance, padRows([1, 2, 3, 4], [4]));
      program.run();
      const means = unpadRows(await program.read(mean), [4]);
      const variances = unpadRows(await program.read(variance), [4]);
      for (let c = 0; c < 4; c++) {
        let [expectedMean, expectedVariance] = [0.9 * [0, 10, 20, 1][c], 0.9 * (c + 1)];
        for (const group of [values.subarray(0, 128), values.subarray(128)]) {
          const column = [...group].filter((_, i) => i % 4 === c);
          const own = column.reduce((a, b) => a + b, 0) / 32;
          expectedMean += 0.05 * own;
          expectedVariance += 0.05 * column.reduce((a, b) => a + (b - own) ** 2, 0) / 31;
        }
        assertAlmostEquals(means[c], expectedMean, 1e-5);
        assertAlmostEquals(variances[c], expectedVariance, 1e-5);
      }
    }));
}

// For GPUs as large maps are: first 1,127 rows in 18 parts, which 16 invocations add up, then nine groups of vec4s side by
// side. Differences by every x would take minutes; the sums are what gamma and beta get.
for (
  const [[kind, as], shape] of KINDS.flatMap((kind) =>
    [[23, 7, 7, 70], [7, 1, 1, 1040]].map((shape) => [kind, shape] as const)
  )
) {
  // No ReLU: of so many values some are so close to its corner that a difference, or float16, is on the other side.
  for (const activation of [undefined, "swish"] as const) {
    const title = `batchNorm [${shape}], ${kind}${activation ? ` + ${activation}` : ""}`;
    Deno.test(`${title} equals a float64 loop, and so do gamma's and beta's gradients`, {
      ignore: activation === undefined && !IS_LONG,
    }, () =>
      withGpu((gpu) => {
        const channels = shape[3];
        return checkOp(as(gpu), {
          name: `[${shape}] ${activation} of gamma and beta`,
          inputs: [
            { shape, values: randomValues("x", shape, 3) },
            { shape: [channels], values: randomValues("gamma", [channels]), gradient: true },
            { shape: [channels], values: randomValues("beta", [channels]), gradient: true },
          ],
          build: (graph, [x, gamma, beta]) => {
            const statistics = graph.apply(batchStatistics, [x], {});
            return graph.apply(batchNorm, [x, gamma, beta, statistics], {
              epsilon: EPSILON,
              activation,
              residual: false,
            });
          },
          reference: (x, gamma, beta) => reference(activation, x, gamma, beta),
        });
      }));
  }
}

// For GPUs in four parts, in 18 (the last shorter), and in three for each of nine groups of vec4s.
for (
  const [[kind, as], shape] of KINDS.flatMap((kind) =>
    [[64, 8, 8, 5], [23, 7, 7, 70], [67, 1, 2, 1040]].map((shape) => [kind, shape] as const)
  )
) {
  Deno.test(`batchStatistics [${shape}], ${kind}, keeps a small variance beside a large mean`, () =>
    withGpu(async (gpu) => {
      const channels = shape[3];
      const values = randomValues("x", shape).map((value) => 1000 + value);
      const graph = new Graph();
      const x = graph.source("x", shape);
      const statistics = graph.apply(batchStatistics, [x], {});
      const options = { label: "test", graph, inputs: [x], outputs: [statistics] };
      using program = await Program.compile(as(gpu), options);
      program.write(x, padRows(values, shape));
      program.run();
      const found = unpadRows(await program.read(statistics), [2, channels]);
      for (let c = 0; c < channels; c++) {
        const column = Array.from(
          { length: values.length / channels },
          (_, row) => values[row * channels + c],
        );
        const mean = column.reduce((a, b) => a + b, 0) / column.length;
        const variance = column.reduce((a, b) => a + (b - mean) ** 2, 0) / column.length;
        assertAlmostEquals(found[c], mean, 1e-3);
        assertAlmostEquals(found[channels + c], variance, 1e-4 * variance);
      }
    }));
}

for (const [kind, as] of KINDS) {
  Deno.test(`batchStatistics moves running ones towards the batch, ${kind}, with the unbiased variance`, () =>
    withGpu(async (gpu) => {
      const graph = new Graph();
      const [x, mean, variance] = [[2, 1, 2, 3], [3], [3]].map((shape) => graph.source("input", shape));
      graph.apply(batchStatistics, [x, mean, variance], { momentum: 0.1 });
      using program = await Program.compile(as(gpu), {
        label: "test",
        graph,
        inputs: [x, mean, variance],
        outputs: [],
      });
      // Means 1, 2, 3; the deviations' squares sum to 8, 32 and 0, over three. The last channel has overflowed.
      program.write(x, padRows([-1, -2, Infinity, 1, 2, 3, 1, 2, 3, 3, 6, 3], x.shape));
      program.write(mean, padRows([0, 10, 20], [3]));
      program.write(variance, padRows([1, 1, 1], [3]));
      program.run();
      const means = unpadRows(await program.read(mean), [3]);
      const variances = unpadRows(await program.read(variance), [3]);
      for (const [i, expected] of [0.1, 9.2, 20].entries()) assertAlmostEquals(means[i], expected, 1e-5);
      for (const [i, expected] of [0.9 + 0.8 / 3, 0.9 + 3.2 / 3, 1].entries()) {
        assertAlmostEquals(variances[i], expected, 1e-5);
      }
    }));
}

/** Shape and kind of a normalisation that devices share. */
interface Shared {
  shape: readonly number[];
  activation: Activation | undefined;
  residual: boolean;
}

/** What a device computes of its share of a batch; values and gradients of the images are in the order of the batch. */
async function normalizeShare(
  gpu: Gpu,
  { shape: [images, ...map], activation, residual }: Shared,
  { index, devices, gather }: { index: number; devices: number; gather: Gather },
): Promise<
  { images: Record<string, Float32Array>; channels: Record<string, Float32Array>; segments: number }
> {
  const shape = [images / devices, ...map];
  const channels = [map[2]];
  const graph = new Graph();
  const source = (name: string, of: readonly number[]) => [name, graph.source(name, of)] as const;
  const [x, dy, addend] = ["x", "dy", "residual"].map((name) => source(name, shape));
  const [gamma, beta, mean, variance] = ["gamma", "beta", "mean", "variance"].map((name) =>
    source(name, channels)
  );
  const statistics = graph.apply(batchStatistics, [x[1], mean[1], variance[1]], {
    momentum: MOMENTUM,
    devices,
  });
  const extra = residual ? [addend[1]] : [];
  const attributes = { epsilon: EPSILON, activation, residual, devices };
  const y = graph.apply(batchNorm, [x[1], gamma[1], beta[1], statistics, ...extra], attributes);
  const loss = graph.apply(weightedSum, [y, dy[1]], {});
  const wanted = [x, gamma, beta, ...residual ? [addend] : []];
  const gradients = differentiate(graph, loss, wanted.map(([, tensor]) => tensor));
  const outputs = [
    ...[["y", y], ["statistics", statistics], mean, variance] as const,
    ...wanted.map(([name], i) => [`gradient of ${name}`, gradients[i]] as const),
  ];
  const inputs = [x, dy, gamma, beta, mean, variance, ...residual ? [addend] : []];
  using program = await Program.compile(gpu, {
    label: "test",
    graph,
    inputs: inputs.map(([, tensor]) => tensor),
    outputs: outputs.map(([, tensor]) => tensor),
  });
  for (const [name, tensor] of inputs) {
    const isOfImages = tensor.shape.length === 4;
    const values = randomValues(name, isOfImages ? [images, ...map] : channels, 3);
    const share = values.length / (isOfImages ? devices : 1);
    const first = isOfImages ? index * share : 0;
    program.write(tensor, padRows(values.subarray(first, first + share), tensor.shape));
  }
  await runSegments(gpu, [program], gather);
  const found = { images: {}, channels: {}, segments: program.segments.length };
  for (const [name, tensor] of outputs) {
    const values = unpadRows(await program.read(tensor), tensor.shape);
    Object.assign(tensor.shape.length === 4 ? found.images : found.channels, { [name]: values });
  }
  return found;
}

// For GPUs the second has several parts on each device, and the last more vec4s than a workgroup takes side by side.
for (
  const [[kind, as], shape, devices] of KINDS.flatMap((kind) =>
    ([[[6, 4, 4, 17], 3], [[6, 33, 17, 5], 2], [[4, 1, 1, 130], 4]] as const).map((of) =>
      [kind, ...of] as const
    )
  )
) {
  for (const [activation, residual] of [[undefined, false], ["relu", true], ["swish", false]] as const) {
    const title = `batchNorm [${shape}] of ${devices} devices, ${kind}${residual ? " + residual" : ""}${
      activation ? ` + ${activation}` : ""
    }`;
    Deno.test(`${title} is that of the whole batch, and so are its gradients and running statistics`, () =>
      withGpu(async (opened) => {
        const gpu = as(opened);
        const run = (devices: number) =>
          Promise.all(
            gatherOnOne(gpu, devices).map((gather, index) =>
              normalizeShare(gpu, { shape, activation, residual }, { index, devices, gather })
            ),
          );
        const [whole] = await run(1);
        const shares = await run(devices);
        assertEquals([whole, ...shares].map(({ segments }) => segments), [1, ...shares.map(() => 3)]);
        for (const [name, expected] of Object.entries(whole.images)) {
          const found = shares.flatMap(({ images }) => [...images[name]]);
          assertLess(relativeError(found, expected), 1e-5, name);
        }
        for (const [name, expected] of Object.entries(whole.channels)) {
          const each = shares.map(({ channels }) => channels[name]);
          // A device's gradients of weights are those of its own images.
          const found = name.startsWith("gradient")
            ? [each.reduce((sum, values) => sum.map((value, i) => value + values[i]))]
            : each;
          for (const values of found) assertLess(relativeError(values, expected), 1e-5, name);
        }
      }));
  }
}

Deno.test("batchNorm refuses groups of a batch that devices share, and a run that would not wait for them", () =>
  withGpu(async (gpu) => {
    const graph = new Graph();
    const x = graph.source("x", [4, 4, 4, 4]);
    const both = { splits: 2, devices: 2 };
    assertThrows(() => graph.applyAll(batchStatistics, [x], both), Error, "not split into 2 groups too");
    const statistics = graph.apply(batchStatistics, [x], { devices: 2 });
    using program = await Program.compile(gpu, { label: "test", graph, inputs: [x], outputs: [statistics] });
    assertThrows(() => program.run(), Error, "test: a run waits for other devices; use runSegments()");
  }));

Deno.test("batchNorm refuses one value a channel, as PyTorch does: nothing before it would learn", () =>
  withGpu(async (gpu) => {
    const compile = async (images: number, attributes: { splits?: number; devices?: number }) => {
      const graph = new Graph();
      const x = graph.source("x", [images, 1, 1, 4]);
      const outputs = graph.applyAll(batchStatistics, [x], attributes);
      using _ = await Program.compile(gpu, { label: "test", graph, inputs: [x], outputs });
    };
    for (const [images, attributes] of [[1, {}], [2, { splits: 2 }]] as const) {
      await assertRejects(
        () => compile(images, attributes),
        UserError,
        `batch norm of [${images},1,1,4]: expected more than one value a channel in training, found one. Use a larger --batch-size`,
      );
    }
    await compile(2, {});
    await compile(1, { devices: 2 });
  }));
