// A NaN comes out as NaN, forwards and backwards, whatever an adapter makes of comparisons with one.
import { assertEquals } from "@std/assert";
import { differentiate } from "../../../kernels/autodiff.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { elementCount, Graph, type Tensor } from "../../../kernels/graph.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { activate, type Activation } from "../../../kernels/ops/activation/activation.ts";
import { batchNorm, batchStatistics } from "../../../kernels/ops/batch_norm/batch_norm.ts";
import { conv2d } from "../../../kernels/ops/conv2d/conv2d.ts";
import { crossEntropy } from "../../../kernels/ops/cross_entropy/cross_entropy.ts";
import { depthwiseConv2d } from "../../../kernels/ops/depthwise_conv2d/depthwise_conv2d.ts";
import { finiteOrZero } from "../../../kernels/ops/finite_or_zero/finite_or_zero.ts";
import { globalAveragePool } from "../../../kernels/ops/global_average_pool/global_average_pool.ts";
import { l2Normalize } from "../../../kernels/ops/l2_normalize/l2_normalize.ts";
import { maxPool } from "../../../kernels/ops/max_pool/max_pool.ts";
import { scaleChannels } from "../../../kernels/ops/scale_channels/scale_channels.ts";
import { Program } from "../../../kernels/program.ts";
import { seedLoss } from "../../../models/loss/seed_loss.ts";
import { KINDS, randomValues, weightedSum, withGpu } from "../check_op.ts";
import { ACTIVATION_FUNCTIONS } from "./activation_functions.ts";

const ACTIVATIONS = Object.keys(ACTIVATION_FUNCTIONS) as Activation[];

/** A processor's own NaN has its sign set, JavaScript's has not. */
const NANS = [0x7fc00000, 0xffc00000].map((bits) => new Float32Array(Uint32Array.of(bits).buffer)[0]);

/** Values with something else in some places. NaN is written by its bits. */
function withValues(
  values: Float32Array<ArrayBuffer>,
  others: Record<number, number>,
): Float32Array<ArrayBuffer> {
  const changed = values.slice();
  for (const [at, value] of Object.entries(others)) changed[Number(at)] = value;
  return changed;
}

type Build = (graph: Graph, inputs: Tensor[]) => Tensor;

/** The output, and the gradients by the inputs that want one, for a gradient `dy` of the output. */
async function run(
  gpu: Gpu,
  build: Build,
  inputs: { shape: readonly number[]; values: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> }[],
  { dy, wanted = [0], loss = false }: { dy?: Float32Array; wanted?: number[]; loss?: boolean } = {},
): Promise<{ y: Float32Array; gradients: Float32Array[] }> {
  const graph = new Graph();
  const sources = inputs.map(({ shape, values }, i) =>
    graph.source(`input ${i}`, shape, values instanceof Uint32Array ? "u32" : "f32")
  );
  const y = build(graph, sources);
  const weights = graph.source("dy", y.shape);
  const sum = loss ? y : graph.apply(weightedSum, [y, weights], {});
  const gradients = wanted.length === 0 ? [] : differentiate(graph, sum, wanted.map((i) => sources[i]));
  using program = await Program.compile(gpu, {
    label: "test",
    graph,
    inputs: [...sources, ...loss ? [] : [weights]],
    outputs: [y, ...gradients],
  });
  for (const [i, { values, shape }] of inputs.entries()) {
    program.write(sources[i], values instanceof Uint32Array ? values : padRows(values, shape));
  }
  if (!loss) program.write(weights, padRows(dy ?? new Float32Array(elementCount(y.shape)).fill(1), y.shape));
  program.run();
  const read = async (tensor: Tensor) => unpadRows(await program.read(tensor), tensor.shape);
  return { y: await read(y), gradients: await Promise.all(gradients.map(read)) };
}

/** Where values are NaN. */
const nansOf = (values: ArrayLike<number>) =>
  Array.from(values).flatMap((value, i) => Number.isNaN(value) ? [i] : []);
const every = (count: number) => Array.from({ length: count }, (_, i) => i);

const SHAPE = [2, 3, 3, 5];
const COUNT = elementCount(SHAPE);
const GEOMETRY = { stride: 1, padTop: 0, padLeft: 0, padBottom: 0, padRight: 0 };

for (const [kind, as] of KINDS) {
  Deno.test(`finiteOrZero() has zeros for what is not finite, ${kind}`, () =>
    withGpu(async (opened) => {
      const x = randomValues("x", SHAPE, 2);
      const others = { 0: NANS[0], 7: NANS[1], 40: Infinity, 89: -Infinity };
      const build: Build = (graph, [z]) => graph.apply(finiteOrZero, [z], {});
      const spoilt = { shape: SHAPE, values: withValues(x, others) };
      const { y } = await run(as(opened), build, [spoilt], { wanted: [] });
      assertEquals(y, withValues(x, { 0: 0, 7: 0, 40: 0, 89: 0 }));
    }));

  for (const activation of ACTIVATIONS) {
    Deno.test(`${activation} of NaN is NaN, in every kernel that applies it, ${kind}`, () =>
      withGpu(async (opened) => {
        const gpu = as(opened);
        const x = randomValues("x", SHAPE, 2);
        for (const nan of NANS) {
          const spoilt = { shape: SHAPE, values: withValues(x, { 7: nan, 40: nan }) };
          const alone: Build = (graph, [z]) => graph.apply(activate, [z], { activation });
          const { y, gradients: [dx] } = await run(gpu, alone, [spoilt]);
          assertEquals(nansOf(y), [7, 40]);
          // As PyTorch has it: ReLU lets what stands at a NaN pass.
          assertEquals(nansOf(dx), activation === "relu" ? [] : [7, 40]);
          if (activation === "relu") assertEquals([dx[7], dx[40]], [1, 1]);

          const at = x.findIndex((value) => value > 0.1);
          const dy = withValues(new Float32Array(COUNT).fill(1), { [at]: nan });
          const behind = await run(gpu, alone, [{ shape: SHAPE, values: x }], { dy });
          assertEquals(nansOf(behind.gradients[0]), [at], "of a gradient that is NaN");

          const kernel = { shape: [1, 1, 8, 4], values: randomValues("w", [1, 1, 8, 4]) };
          const convolved = await run(
            gpu,
            (graph, [z, w]) => graph.apply(conv2d, [z, w], { ...GEOMETRY, bias: false, activation }),
            [spoilt, kernel],
            { wanted: [] },
          );
          // Pixels 1 and 8 have one.
          assertEquals(nansOf(convolved.y), [...every(4).map((i) => 4 + i), ...every(4).map((i) => 32 + i)]);
          const taps = { shape: [1, 1, 5], values: randomValues("taps", [5]) };
          const depthwise = await run(
            gpu,
            (graph, [z, w]) => graph.apply(depthwiseConv2d, [z, w], { ...GEOMETRY, bias: false, activation }),
            [spoilt, taps],
            { wanted: [] },
          );
          assertEquals(nansOf(depthwise.y), [7, 40]);
        }
      }));
  }

  Deno.test(`batch norm of NaN is NaN in the whole channel, whatever is behind it, and Infinity too, ${kind}`, () =>
    withGpu(async (opened) => {
      const gpu = as(opened);
      const x = randomValues("x", SHAPE, 2);
      const [gamma, beta] = ["gamma", "beta"].map((name) => ({
        shape: [5],
        values: randomValues(name, [5]),
      }));
      const channel = every(COUNT).filter((i) => i % 5 === 2);
      for (const activation of [undefined, "relu", "swish", "hard_swish"] as const) {
        for (const value of [...NANS, Infinity]) {
          const { y, gradients } = await run(
            gpu,
            (graph, [z, g, b]) => {
              const statistics = graph.apply(batchStatistics, [z], {});
              return graph.apply(batchNorm, [z, g, b, statistics], {
                epsilon: 1e-5,
                activation,
                residual: false,
              });
            },
            [{ shape: SHAPE, values: withValues(x, { 7: value }) }, gamma, beta],
            { wanted: [0, 1, 2], dy: randomValues("dy", SHAPE) },
          );
          const what = `${activation ?? "nothing"} behind ${value}`;
          assertEquals(nansOf(y), channel, what);
          assertEquals(nansOf(gradients[0]), channel, what);
          assertEquals(nansOf(gradients[1]), [2], what);
        }
      }
    }));

  Deno.test(`scaleChannels of NaN is NaN, and so are its gradients, ${kind}`, () =>
    withGpu(async (opened) => {
      const gpu = as(opened);
      const x = { shape: SHAPE, values: randomValues("x", SHAPE) };
      const scale = { shape: [2, 1, 1, 5], values: randomValues("scale", [2, 5]) };
      for (const gate of ["sigmoid", "hard_sigmoid"] as const) {
        for (const nan of NANS) {
          const build: Build = (graph, inputs) => graph.apply(scaleChannels, inputs, { gate });
          const spoilt = await run(gpu, build, [{ ...x, values: withValues(x.values, { 7: nan }) }, scale], {
            wanted: [0, 1],
          });
          assertEquals([nansOf(spoilt.y), nansOf(spoilt.gradients[1])], [[7], [2]]);
          const gated = await run(
            gpu,
            build,
            [x, { ...scale, values: withValues(scale.values, { 2: nan }) }],
            {
              wanted: [0, 1],
            },
          );
          const channel = every(9).map((pixel) => 5 * pixel + 2);
          assertEquals([nansOf(gated.y), nansOf(gated.gradients[0]), nansOf(gated.gradients[1])], [
            channel,
            channel,
            [
              2,
            ],
          ]);
        }
      }
    }));

  Deno.test(`pools and l2Normalize pass a NaN on, forwards and backwards, ${kind}`, () =>
    withGpu(async (opened) => {
      const gpu = as(opened);
      const x = randomValues("x", SHAPE);
      const pool: Build = (graph, [z]) =>
        graph.applyAll(maxPool, [z], { kernel: 3, stride: 2, padding: 1 })[0];
      for (const nan of NANS) {
        const spoilt = { shape: SHAPE, values: withValues(x, { 20: nan }) }; // channel 0 of the middle of image 0
        const { y, gradients: [dx] } = await run(gpu, pool, [spoilt]);
        // All four windows of that image hold it, and each gives its gradient to it.
        assertEquals(nansOf(y), [0, 5, 10, 15]);
        assertEquals(dx[20], 4);
        const dy = withValues(new Float32Array(2 * 2 * 2 * 5).fill(1), { 0: nan });
        const behind = await run(gpu, pool, [spoilt], { dy });
        assertEquals(nansOf(behind.gradients[0]), [20]);

        const mean: Build = (graph, [z]) => graph.apply(globalAveragePool, [z], {});
        const means = await run(gpu, mean, [spoilt], {
          dy: withValues(new Float32Array(10).fill(1), { 3: nan }),
        });
        assertEquals(nansOf(means.y), [0]);
        assertEquals(nansOf(means.gradients[0]), every(9).map((pixel) => 5 * pixel + 3));

        const unit: Build = (graph, [z]) => graph.apply(l2Normalize, [z], {});
        const rows = await run(gpu, unit, [spoilt], { dy: randomValues("dy", SHAPE) });
        assertEquals(nansOf(rows.y), [20, 21, 22, 23, 24]);
        assertEquals(nansOf(rows.gradients[0]), [20, 21, 22, 23, 24]);
      }
      const below = { shape: [1, 2, 2, 1], values: new Float32Array(4).fill(-Infinity) };
      const lowest = await run(gpu, pool, [below], { wanted: [] });
      assertEquals([...lowest.y], [-Infinity], "maxPool of -Infinity");
    }));

  Deno.test(`losses of NaN are NaN, and so are their gradients, ${kind}`, () =>
    withGpu(async (opened) => {
      const gpu = as(opened);
      for (const nan of NANS) {
        const logits = { shape: [3, 1, 1, 10], values: withValues(randomValues("z", [3, 10]), { 14: nan }) };
        const labels = [{ shape: [3], values: Uint32Array.of(1, 4, 9) }, {
          shape: [1],
          values: Uint32Array.of(3),
        }];
        const classified = await run(
          gpu,
          (graph, inputs) => graph.applyAll(crossEntropy, inputs, {})[0],
          [logits, ...labels],
          { loss: true },
        );
        assertEquals(nansOf(classified.y), [0]);
        assertEquals(nansOf(classified.gradients[0]), every(10).map((i) => 10 + i));

        for (const spoilt of [0, 1, 2]) {
          const inputs = [[3, 1, 1, 8], [3, 1, 1, 8], [1, 1, 16, 8]].map((shape, i) => ({
            shape,
            values: withValues(randomValues(`input ${i}`, shape), i === spoilt ? { 9: nan } : {}),
          }));
          const distilled = await run(
            gpu,
            (graph, [student, teacher, queue]) =>
              seedLoss(graph, {
                student,
                teacher,
                queue,
                queueSize: 16,
                temperature: 0.2,
                teacherTemperature: 0.1,
              }),
            inputs,
            { loss: true },
          );
          assertEquals(nansOf(distilled.y), [0], `input ${spoilt}`);
          const rows = spoilt === 2 ? every(24) : every(8).map((i) => 8 + i);
          assertEquals(nansOf(distilled.gradients[0]), rows, `input ${spoilt}`);
        }
      }
    }));
}
