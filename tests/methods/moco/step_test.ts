import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import type { Gpu } from "../../../kernels/gpu.ts";
import { FIXED_SCALE, INITIAL_LOSS_SCALE, NO_SCALE } from "../../../kernels/ops/loss_scale/loss_scale.ts";
import { MocoStep, type MocoStepOptions } from "../../../methods/moco/step.ts";
import { initialize, initializeQueue, type StateValues } from "../../../models/initialize.ts";
import { findEncoder } from "../../../models/registry.ts";
import { relativeError, withGpu } from "../../kernels/check_op.ts";
import "../../actors/small_run.ts";
import { IS_LONG } from "../../long.ts";
import { skip } from "../../skip.ts";
import { formulaTensor, GOLDEN_SEED } from "../../reference.ts";
import { formulaImages, formulaReader } from "../../models/reference_encoder.ts";

/** How it was made is said in it. */
const GOLDEN = JSON.parse(
  await Deno.readTextFile(new URL("../../golden/moco_steps.json", import.meta.url)),
);
const { dim, image_size: imageSize, queue: queueSize, m, t, momentum, weight_decay } = GOLDEN.settings;

/** Sum, L2 norm, first, middle and last number. */
type Figures = [number, number, number, number, number];

interface GoldenStep {
  loss: number;
  keys: number[][];
  queue_ptr: number;
  gradient?: Figures[];
  encoder_q?: Figures[];
  encoder_k?: Figures[];
}

interface GoldenRun {
  bn_splits: number;
  lr: number;
  batch: number;
  queue_ptr: number;
  steps: GoldenStep[];
  queue_after: Figures;
}

function figuresOf(values: ArrayLike<number>): Figures {
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < values.length; i++) {
    sum += values[i];
    squares += values[i] * values[i];
  }
  return [
    sum,
    Math.sqrt(squares),
    values[0],
    values[Math.floor(values.length / 2)],
    values[values.length - 1],
  ];
}

/** Fails where a tensor's figures differ by more than a share of its norm, its sum by more than that of a random walk. */
function assertFigures(
  values: ArrayLike<number>,
  expected: Figures,
  share: number,
  least: number,
  what: string,
) {
  const found = figuresOf(values);
  const tolerance = share * expected[1] + least;
  assertAlmostEquals(found[0], expected[0], tolerance * Math.sqrt(values.length), `${what}: sum`);
  for (const [i, name] of ["norm", "first", "middle", "last"].entries()) {
    assertAlmostEquals(found[i + 1], expected[i + 1], tolerance, `${what}: ${name}`);
  }
}

function goldenQueue(): Float32Array<ArrayBuffer> {
  const queue = Float32Array.from(formulaTensor("queue", [queueSize, dim], "unit", GOLDEN_SEED));
  for (let row = 0; row < queueSize; row++) {
    const values = queue.subarray(row * dim, (row + 1) * dim);
    const norm = Math.hypot(...values);
    for (const [i, value] of values.entries()) values[i] = value / norm;
  }
  return queue;
}

/** The images of a step in the order that puts every split's in one group: the original takes every nth. */
function imagesOf(name: string, batch: number, splits: number): Float32Array<ArrayBuffer> {
  const images = formulaImages(name, batch, imageSize, GOLDEN_SEED);
  const length = images.length / batch;
  const ordered = new Float32Array(images.length);
  for (const [to, from] of orderOf(batch, splits).entries()) {
    ordered.set(images.subarray(from * length, (from + 1) * length), to * length);
  }
  return ordered;
}

function orderOf(batch: number, splits: number): number[] {
  return Array.from({ length: batch }, (_, i) => {
    const perGroup = batch / splits;
    return (i % perGroup) * splits + Math.floor(i / perGroup);
  });
}

const SMALL: MocoStepOptions = {
  encoder: findEncoder("tiny_convnet"),
  head: { kind: "mlp", dimension: 16 },
  batch: 8,
  imageSize: 16,
  input: "normalized",
  queueSize: 32,
  temperature: 0.2,
  keyMomentum: 0.5,
  momentum: 0.9,
  weightDecay: 1e-4,
};

/** A small step with weights and a queue. */
async function start(gpu: Gpu, changes: Partial<MocoStepOptions> = {}): Promise<MocoStep> {
  const step = await MocoStep.create(gpu, { ...SMALL, ...changes });
  const fresh = initialize(step.state, 3);
  const read = (key: string) => fresh.get(key)!;
  await step.load(read, read);
  step.queues[0].load(initializeQueue(32, 16, 3));
  return step;
}

/** Views of a batch, and where its keys go. */
function batchOf(number: number, learningRate = 0.1) {
  return {
    queries: formulaImages(`q ${number}`, 8, 16),
    keys: formulaImages(`k ${number}`, 8, 16),
    learningRate,
    queuePointer: 8 * number % 32,
  };
}

Deno.test("two batches that accumulate take one step, by the mean of their gradients, and all keys go in together", () =>
  withGpu(async (gpu) => {
    const single: StateValues[] = [];
    const keys: Float32Array[] = [];
    for (const number of [0, 1]) {
      using step = await start(gpu);
      await step.run(batchOf(number));
      single.push(await step.parameters.saveArena("gradient"));
      keys.push(await step.readKeys());
    }
    using step = await start(gpu, { accumulate: 2 });
    const before = await step.save();
    const queue = await step.queues[0].read();
    await step.run({ ...batchOf(0), group: { index: 0, size: 2 } });
    assertEquals((await step.save()).get("fc.0.weight"), before.get("fc.0.weight"), "half of a step");
    assertEquals(await step.queues[0].read(), queue);
    await step.run({ ...batchOf(1), group: { index: 1, size: 2 } });
    const after = await step.save();
    for (const [key, gradient] of single[0]) {
      const expected = before.get(key)!.map((value, i) =>
        value - 0.1 * ((gradient[i] + single[1].get(key)![i]) / 2 + 1e-4 * value)
      );
      assertLess(relativeError(after.get(key)!, expected), 1e-5, key);
    }
    const rows = await step.queues[0].read();
    assertLess(relativeError(rows.subarray(0, 256), [...keys[0], ...keys[1]]), 1e-5);
    assertEquals(rows.subarray(256), queue.subarray(256));
    // The key encoder moves at the first batch of a group: towards weights that it had already.
    const keyEncoder = await step.saveKeyEncoder();
    assertLess(relativeError(keyEncoder.get("fc.0.weight")!, before.get("fc.0.weight")!), 1e-6);
    await step.run({ ...batchOf(2), group: { index: 0, size: 2 } });
    const moved = before.get("fc.0.weight")!.map((value, i) => (value + after.get("fc.0.weight")![i]) / 2);
    assertLess(relativeError((await step.saveKeyEncoder()).get("fc.0.weight")!, moved), 1e-6);
  }));

Deno.test("activations that are computed again change no bit of either encoder", () =>
  withGpu(async (gpu) => {
    const results = [];
    for (const checkpointActivations of [false, true]) {
      using step = await start(gpu, { checkpointActivations });
      const losses = [await step.run(batchOf(0)), await step.run(batchOf(1))].map(({ loss }) => loss);
      results.push([losses, await step.save(), await step.saveKeyEncoder()]);
    }
    assertEquals(results[0], results[1]);
  }));

Deno.test("keys that are not finite make their own step's loss NaN, and no later one's", () =>
  withGpu(async (gpu) => {
    using step = await start(gpu, { lossScale: NO_SCALE, lossScaleRule: FIXED_SCALE });
    const keys = batchOf(1).keys.slice();
    keys[0] = Infinity;
    assert(Number.isFinite((await step.run(batchOf(0))).loss));
    const { loss, isApplied } = await step.run({ ...batchOf(1), keys });
    assertEquals([Number.isFinite(loss), isApplied], [false, false]);
    const queue = await step.queues[0].read();
    assert(queue.every(Number.isFinite) && queue.subarray(8 * 16, 16 * 16).includes(0));
    for (const number of [2, 3, 4]) {
      const after = await step.run(batchOf(number));
      assert(Number.isFinite(after.loss) && after.isApplied, `step ${number}: ${after.loss}`);
    }
  }));

Deno.test("the key encoder's groups are others than the query encoder's, and its keys are in the images' order", () =>
  withGpu(async (gpu) => {
    const images = formulaImages("both", 8, 16);
    const batch = { ...batchOf(0), queries: images, keys: images };
    const run = async (changes: Partial<MocoStepOptions>) => {
      using step = await start(gpu, changes);
      await step.run(batch);
      return [await step.readEmbeddings(), await step.readKeys()];
    };
    // The weights are the same: where the groups are too, a query is its key.
    const [queries, keys] = await run({ splits: 2, shufflesKeys: false });
    assertLess(relativeError(keys, queries), 1e-6);
    const [same, shuffled] = await run({ splits: 2 });
    assertEquals(same, queries);
    assert(relativeError(shuffled, queries) > 1e-3, "the groups are the same");
    // Each key is its own query's, and not that of the image whose place it had in the key encoder's batch.
    const alike = (order: (row: number) => number) => {
      let sum = 0;
      for (let row = 0; row < 8; row++) {
        for (let i = 0; i < 16; i++) sum += queries[16 * row + i] * shuffled[16 * order(row) + i];
      }
      return sum / 8;
    };
    const own = alike((row) => row);
    assert(own > alike((row) => (row % 2) * 4 + Math.floor(row / 2)), "keys are in the key encoder's order");
    assert(own > alike((row) => (row + 1) % 8));
    assert(own > 0.9, `${own}`);
  }));

Deno.test("a step of MoCo in mixed precision is that in float32, nearly", () =>
  withGpu(async (gpu) => {
    if (!gpu.device.features.has("shader-f16")) {
      return skip("a step of MoCo in mixed precision", "this adapter has no shader-f16");
    }
    using whole = await start(gpu);
    using half = await start(gpu, { mixedPrecision: true, lossScale: INITIAL_LOSS_SCALE });
    for (let number = 0; number < 3; number++) {
      const [expected, found] = [await whole.run(batchOf(number)), await half.run(batchOf(number))];
      assertEquals(found.isApplied, true);
      assertAlmostEquals(found.loss, expected.loss, 2e-2 * expected.loss);
    }
  }));

for (const name of ["steps_1", "calm_1", "calm_2"]) {
  const run: GoldenRun = GOLDEN[name];
  const { bn_splits: splits, batch, lr } = run;
  // At the higher rate a ReLU's rounding grows from step to step, in PyTorch's float32 too.
  const isCalm = name.startsWith("calm");
  Deno.test(
    `parity: ${run.steps.length} steps of MoCo-v2, bn-splits ${splits}, lr ${lr}, equal the original's`,
    {
      // The first one has all that the second has, and settings_test.ts makes the third one's groups by hand.
      ignore: isCalm && !IS_LONG,
    },
    () =>
      withGpu(async (gpu) => {
        using step = await MocoStep.create(gpu, {
          encoder: findEncoder(GOLDEN.settings.encoder),
          head: { kind: "mlp", dimension: dim },
          batch,
          imageSize,
          input: "normalized",
          queueSize,
          temperature: t,
          keyMomentum: m,
          momentum,
          weightDecay: weight_decay,
          splits,
          shufflesKeys: false,
        });
        const read = formulaReader(step.state, "encoder_q.", GOLDEN_SEED);
        await step.load(read, read);
        step.queues[0].load(goldenQueue());
        const order = orderOf(batch, splits);
        let queuePointer = run.queue_ptr;
        for (const [s, expected] of run.steps.entries()) {
          const close = s === 0 || isCalm;
          const { loss } = await step.run({
            queries: imagesOf(`input/q${s}`, batch, splits),
            keys: imagesOf(`input/k${s}`, batch, splits),
            learningRate: lr,
            queuePointer,
          });
          assertAlmostEquals(loss, expected.loss, (close ? 5e-5 : 5e-2) * expected.loss, `loss of step ${s}`);
          const keys = await step.readKeys();
          for (const [to, from] of order.entries()) {
            const found = keys.subarray(to * dim, (to + 1) * dim);
            assertLess(
              relativeError(found, expected.keys[from]),
              close ? 1e-4 : 5e-2,
              `key ${from} of step ${s}`,
            );
          }
          queuePointer = expected.queue_ptr;
          if (s > 0 && (!isCalm || s < run.steps.length - 1)) continue; // reading all weights takes its time
          const gradients = await step.parameters.saveArena("gradient");
          const [encoderQ, encoderK] = [await step.save(), await step.saveKeyEncoder()];
          const largest = Math.max(...expected.gradient!.map(([, norm]) => norm));
          for (const [i, key] of (GOLDEN.parameters as string[]).entries()) {
            // In later steps single units' signs change whole percents of a tensor's gradient.
            if (s > 0) continue;
            assertFigures(
              gradients.get(key)!,
              expected.gradient![i],
              2e-3,
              1e-6 * largest,
              `gradient of ${key}`,
            );
          }
          for (const [i, key] of (GOLDEN.state as string[]).entries()) {
            if (key.endsWith("num_batches_tracked")) continue;
            const what = `${key} after step ${s}`;
            assertFigures(encoderQ.get(key)!, expected.encoder_q![i], 2e-4, 1e-6, `encoder_q ${what}`);
            assertFigures(encoderK.get(key)!, expected.encoder_k![i], 2e-5, 1e-6, `encoder_k ${what}`);
          }
        }
        // The rows of each batch are in another order where it was split.
        if (splits === 1) {
          assertFigures(await step.queues[0].read(), run.queue_after, isCalm ? 1e-4 : 1e-2, 1e-6, "queue");
        }
      }),
  );
}
