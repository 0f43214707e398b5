// A vision transformer as a student: gradients and AdamW are PyTorch's, a resumed run has the same bits.
import { assertAlmostEquals, assertEquals, assertGreater, assertLess, assertNotEquals } from "@std/assert";
import type { Gpu } from "../../../kernels/gpu.ts";
import { INITIAL_LOSS_SCALE } from "../../../kernels/ops/loss_scale/loss_scale.ts";
import { type StudentBatch, StudentStep, type StudentStepOptions } from "../../../methods/seed/step.ts";
import { findEncoder } from "../../../models/registry.ts";
import { withGpu } from "../../kernels/check_op.ts";
import { formulaImages } from "../../models/reference_encoder.ts";
import { formulaTensor, GOLDEN_SEED } from "../../reference.ts";
import { skip } from "../../skip.ts";

/** How it was made is said in it. */
const GOLDEN = JSON.parse(
  Deno.readTextFileSync(new URL("../../golden/vit_adamw_steps.json", import.meta.url)),
);

const [BATCH, DIMENSION, KEYS, VIEWS] = [4, 8, 16, 2];
const RATES = [0.01, 0.02, 0.005];

const OPTIONS: StudentStepOptions = {
  encoder: findEncoder("dino_vit_p4_w16_b2_h2_f64_r0_g2"),
  head: { kind: "mlp", dimension: DIMENSION },
  batch: BATCH,
  imageSize: 8,
  input: "normalized",
  queueSize: KEYS,
  local: { views: VIEWS, imageSize: 12, augmentation: "unused" },
  temperature: 0.2,
  teacherTemperature: 0.05,
  optimizer: "adamw",
  momentum: 0,
  weightDecay: 0.5,
};

/** The formula's unit rows. */
function unitRows(name: string, rows: number): Float32Array<ArrayBuffer> {
  const values = Float32Array.from(formulaTensor(name, [rows, DIMENSION], "unit", GOLDEN_SEED));
  for (let at = 0; at < values.length; at += DIMENSION) {
    const row = values.subarray(at, at + DIMENSION);
    const norm = Math.hypot(...row);
    row.forEach((value, i) => row[i] = value / norm);
  }
  return values;
}

async function start(gpu: Gpu, options: Partial<StudentStepOptions> = {}): Promise<StudentStep> {
  const step = await StudentStep.create(gpu, { ...OPTIONS, ...options });
  const shapes = new Map(step.state.map(({ key, shape }) => [key, shape]));
  await step.load((key) => {
    const shape = shapes.get(key)!;
    const kind = /(^|\.)(cls_token|pos_embed|bias)$/.test(key)
      ? "small"
      : shape.length === 1
      ? "gamma"
      : "weight";
    return formulaTensor(key, shape, kind, GOLDEN_SEED);
  });
  step.queues[0].load(unitRows("queue", KEYS));
  step.queues[1]?.load(unitRows("small queue", KEYS));
  return step;
}

/** A step on views alone. */
function takeViews(step: StudentStep, number: number, more: Partial<StudentBatch> = {}) {
  return step.run({
    images: formulaImages(`input/vit${number}`, BATCH, 8, GOLDEN_SEED),
    teacher: unitRows(`teacher${number}`, BATCH),
    learningRate: RATES[number],
    queuePointer: number * BATCH,
    step: number,
    ...more,
  });
}

/** A step on views and small views. */
function take(step: StudentStep, number: number) {
  const images = formulaImages(`input/vit${number}small`, BATCH * VIEWS, 12, GOLDEN_SEED);
  const local = { images, teacher: unitRows(`small teacher${number}`, BATCH * VIEWS) };
  return takeViews(step, number, { local });
}

const sumAndNorm = (values: Float32Array) => [
  values.reduce((sum, value) => sum + value, 0),
  Math.hypot(...values),
];

/** Compares sums and L2 norms, each to a share of the norm. */
function assertSums(
  found: ReadonlyMap<string, Float32Array>,
  expected: Record<string, number[]>,
  tolerance: number,
): void {
  assertEquals([...found.keys()].sort(), Object.keys(expected).sort());
  for (const [key, values] of found) {
    const [sum, norm] = sumAndNorm(values);
    const [wantedSum, wantedNorm] = expected[key];
    assertAlmostEquals(norm, wantedNorm, tolerance * wantedNorm, `${key}: norm`);
    assertAlmostEquals(sum, wantedSum, tolerance * wantedNorm * Math.sqrt(values.length), `${key}: sum`);
  }
}

/** Values without those of the keys' biases: a softmax does not depend on them, so AdamW makes steps of rounding. */
function withoutKeys(values: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> {
  return new Map([...values].map(([key, found]) => {
    const width = found.length / 3;
    return [key, key.endsWith("qkv.bias") ? found.filter((_, i) => i < width || i >= 2 * width) : found];
  }));
}

Deno.test("parity: three steps of a vision transformer with AdamW, at two sizes of images, equal PyTorch's", () =>
  withGpu(async (gpu) => {
    using step = await start(gpu);
    for (const [number, expected] of GOLDEN.losses.entries()) {
      const { losses, steps } = await take(step, number);
      assertEquals(steps, number + 1);
      for (const [i, loss] of losses.entries()) assertAlmostEquals(loss, expected[i], 1e-4 * expected[i]);
      if (number > 0) continue;
      const gradients = await step.parameters.saveArena("gradient");
      assertSums(gradients, GOLDEN.gradient, 1e-4);
      for (const [key, [, norm, ...first]] of Object.entries<number[]>(GOLDEN.gradient)) {
        for (const [i, value] of first.entries()) {
          assertAlmostEquals(gradients.get(key)![i], value, 1e-4 * norm, key);
        }
      }
    }
    const weights = await step.save();
    assertSums(withoutKeys(weights), GOLDEN.weights, 1e-4);
    for (const arena of ["exp_avg", "exp_avg_sq"]) {
      assertSums(withoutKeys(await step.parameters.saveArena(arena)), GOLDEN[arena], 1e-3);
    }
    for (const [i, value] of GOLDEN.positions.entries()) {
      assertAlmostEquals(weights.get("pos_embed")![i], value, 1e-5);
    }
  }));

Deno.test("a vision transformer with AdamW and stochastic depth has the same bits when it is resumed", () =>
  withGpu(async (gpu) => {
    const options = { dropPath: 0.5, dropoutSeed: 3 };
    using whole = await start(gpu, options);
    for (const number of [0, 1]) await take(whole, number);
    const weights = await whole.save();
    const arenas = new Map<string, Map<string, Float32Array>>();
    for (const arena of ["exp_avg", "exp_avg_sq"]) {
      arenas.set(arena, await whole.parameters.saveArena(arena));
    }
    const queues = [await whole.queues[0].read(), await whole.queues[1].read()];
    const { loss } = await take(whole, 2);
    const expected = await whole.save();

    for (const steps of [2, 1]) {
      using resumed = await start(gpu, { ...options, steps });
      await resumed.load((key) => weights.get(key)!);
      for (const [arena, values] of arenas) resumed.parameters.loadArena(arena, values);
      for (const [i, keys] of queues.entries()) resumed.queues[i].load(keys);
      const result = await take(resumed, 2);
      assertEquals([result.loss, result.steps], [loss, steps + 1]);
      // The corrections of the moments follow from the count.
      assertEquals(String([...await resumed.save()]) === String([...expected]), steps === 2);
    }
  }));

Deno.test("a vision transformer drops the branches of whole images, by seed and step, and not in its first block", () =>
  withGpu(async (gpu) => {
    const embed = async (options: Partial<StudentStepOptions>, number: number) => {
      using step = await start(gpu, { ...options, local: undefined });
      await takeViews(step, 0, { step: number });
      return await step.readEmbeddings();
    };
    const off = await embed({ dropPath: 0 }, 0);
    assertEquals(await embed({ dropPath: 0.8 }, 0), off); // without a seed nothing is dropped
    const runs = [];
    for (const [dropoutSeed, number] of [[3, 0], [3, 0], [3, 1], [4, 0]]) {
      runs.push(await embed({ dropPath: 0.8, dropoutSeed }, number));
    }
    assertEquals(runs[1], runs[0]);
    for (const other of [...runs.slice(2), off]) {
      assertGreater(runs[0].reduce((sum, value, i) => sum + Math.abs(value - other[i]), 0), 0.01);
    }
    // With the last block dropped, an image's embedding is that of one block: the first block is whole in every run.
    const oneBlock = await embed({ encoder: findEncoder("dino_vit_p4_w16_b1_h2_f64_r0_g2") }, 0);
    const rows = Array.from({ length: BATCH }, (_, row) => row * DIMENSION);
    const distances = runs.flatMap((run) =>
      rows.map((at) =>
        Math.hypot(...run.subarray(at, at + DIMENSION).map((value, i) => value - oneBlock[at + i]))
      )
    );
    const same = distances.filter((distance) => distance < 1e-5).length;
    assertGreater(same, 4); // 0.8 * 0.8 of 16 in the mean, both branches
    assertLess(same, 16);
  }));

Deno.test("a vision transformer with AdamW learns in mixed precision", () =>
  withGpu(async (gpu) => {
    if (!gpu.adapter.hasHalf) {
      return skip("a vision transformer in mixed precision", "the adapter has no float16");
    }
    const run = async (options: Partial<StudentStepOptions>) => {
      using step = await start(gpu, { ...options, local: undefined });
      const losses: number[] = [];
      for (const number of [0, 1, 2]) losses.push((await takeViews(step, number)).loss);
      return { losses, positions: (await step.save()).get("pos_embed")! };
    };
    const whole = await run({});
    const half = await run({ mixedPrecision: true, lossScale: { ...INITIAL_LOSS_SCALE, scale: 1024 } });
    assertAlmostEquals(whole.losses[0], GOLDEN.losses[0][0], 1e-4 * whole.losses[0]);
    for (const [i, loss] of whole.losses.entries()) {
      assertAlmostEquals(half.losses[i], loss, 0.02 * loss);
      assertNotEquals(half.losses[i], loss); // it is half precision
    }
    for (const [i, value] of whole.positions.entries()) assertAlmostEquals(half.positions[i], value, 0.02);
  }));
