/** What a training step is made of: groups of batches, exchanges of gradients, clipping, optimizers, arenas. */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertLess,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { UserError } from "../../errors.ts";
import { differentiate } from "../../kernels/autodiff.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { readBuffer } from "../../kernels/readback.ts";
import { Graph } from "../../kernels/graph.ts";
import { padRows, unpadRows } from "../../kernels/layout.ts";
import type { AdamWAttributes } from "../../kernels/ops/adamw/adamw.ts";
import { add } from "../../kernels/ops/add/add.ts";
import {
  INITIAL_LOSS_SCALE,
  NO_SCALE,
  stepControl,
  unpackStepControl,
} from "../../kernels/ops/loss_scale/loss_scale.ts";
import { mean } from "../../kernels/ops/mean/mean.ts";
import { multiply } from "../../kernels/ops/multiply/multiply.ts";
import type { Program } from "../../kernels/program.ts";
import type { Schedule } from "../../kernels/schedule.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import { initialize, initializeQueue, type StateValues } from "../../models/initialize.ts";
import { findOptimizer, optimizerNames } from "../../models/optim/optimizers.ts";
import { tensorsOf } from "../../models/parameter_store.ts";
import type { StepLoss } from "../../methods/encoder_training/step_results.ts";
import {
  scheduleStep,
  type StudentBatch,
  StudentStep,
  type StudentStepOptions,
} from "../../methods/seed/step.ts";
import {
  AVERAGE,
  bucketGradients,
  GRADIENT,
  type GradientExchange,
  type GradientGraph,
  type OptimizerOptions,
  scheduleTrainingStep,
  TrainingStep,
} from "../../models/training_step.ts";
import { KINDS, randomValues, relativeError, withGpu } from "../kernels/check_op.ts";
import { AdamW64, clip64 } from "./optim/float64.ts";
import { TINY_ENCODER } from "./tiny_encoder.ts";

/** Not a multiple of four, as rows on the device are. */
const DIMENSION = 10;
const SIZE = 8;
const SMALL = { views: 2, imageSize: SIZE };
const RATE = 0.1;

const OPTIONS: StudentStepOptions = {
  encoder: TINY_ENCODER,
  head: { kind: "mlp", dimension: DIMENSION },
  batch: 2,
  imageSize: SIZE,
  input: "normalized",
  queueSize: 10,
  temperature: 0.2,
  teacherTemperature: 0.05,
  momentum: 0.9,
  weightDecay: 1e-2,
};

function images(name: string, rows: readonly number[], views = 1): Float32Array<ArrayBuffer> {
  const shape = [views, SIZE, SIZE, 3];
  const values = rows.flatMap((row) => [...padRows(randomValues(`${name} ${row}`, shape), shape)]);
  return Float32Array.from(values);
}

function keys(name: string, rows: readonly number[], views = 1): Float32Array<ArrayBuffer> {
  return Float32Array.from(rows.flatMap((row) => [...initializeQueue(views, DIMENSION, row, name)]));
}

/** Some of the rows of a data set that has no end, small views among them whether they are needed or not. */
function batchOf(
  first: number,
  count: number,
): Pick<StudentBatch, "images" | "teacher" | "local" | "learningRate"> {
  const rows = Array.from({ length: count }, (_, i) => first + i);
  return {
    images: images("image", rows),
    teacher: keys("key", rows),
    local: {
      images: images("small image", rows, SMALL.views),
      teacher: keys("small key", rows, SMALL.views),
    },
    learningRate: RATE,
  };
}

/** What a student is after some steps. */
interface Snapshot {
  weights: StateValues;
  momentum: StateValues;
  queues: Float32Array[];
}

async function snapshot(student: StudentStep, hasSmall = false): Promise<Snapshot> {
  return {
    weights: await student.parameters.save(),
    momentum: await student.parameters.saveArena("momentum"),
    queues: [await student.queues[0].read(), ...hasSmall ? [await student.queues[1].read()] : []],
  };
}

/** A student with fresh weights, or those of a snapshot. */
async function start(
  gpu: Gpu,
  options: Partial<StudentStepOptions> = {},
  { exchange, from }: { exchange?: GradientExchange; from?: Snapshot } = {},
): Promise<StudentStep> {
  const all = { ...OPTIONS, ...options };
  const student = await StudentStep.create(gpu, all, exchange);
  const weights = from?.weights ?? initialize(student.state, 5);
  await student.parameters.load((key) => weights.get(key)!);
  if (from !== undefined) student.parameters.loadArena("momentum", from.momentum);
  for (const which of all.local === undefined ? [0] : [0, 1]) {
    const queue = from?.queues[which] ?? initializeQueue(all.queueSize, DIMENSION, 7, `queue ${which}`);
    student.queues[which].load(Float32Array.from(queue));
  }
  return student;
}

function assertClose(found: StateValues, expected: StateValues, what: string, tolerance = 1e-5): void {
  assertEquals([...found.keys()], [...expected.keys()]);
  for (const [key, values] of expected) {
    assertLess(relativeError(found.get(key)!, values), tolerance, `${what}: ${key}`);
  }
}

/** Weights and momentum to float32 rounding, queues to the bit. */
function assertAlike(found: Snapshot, expected: Snapshot, what: string): void {
  assertClose(found.weights, expected.weights, `${what}, weights`);
  assertClose(found.momentum, expected.momentum, `${what}, momentum`);
  assertEquals(found.queues, expected.queues, what);
}

const GROUPED: Readonly<Record<string, Partial<StudentStepOptions>>> = {
  "": {},
  ", with small views and a scaled loss": { local: SMALL, lossScale: INITIAL_LOSS_SCALE },
  ", with clipped gradients": { clipNorm: 0.01, lossScale: INITIAL_LOSS_SCALE },
};

for (const [name, options] of Object.entries(GROUPED)) {
  Deno.test(`three batches of two that accumulate make the step of one batch of six${name}`, () =>
    withGpu(async (gpu) => {
      const [batch, size] = [OPTIONS.batch, 3];
      const hasSmall = options.local !== undefined;
      using grouped = await start(gpu, { ...options, accumulate: size });
      using whole = await start(gpu, { ...options, batch: size * batch });
      let before = await snapshot(grouped, hasSmall);
      const runGroup = async (first: number, batches: number) => {
        let loss = 0;
        for (let index = 0; index < batches; index++) {
          const row = first + index * batch;
          const step = await grouped.run({
            ...batchOf(row, batch),
            queuePointer: row % OPTIONS.queueSize,
            group: { index, size: batches },
          });
          assert(step.isApplied);
          loss += step.loss / batches;
          if (index < batches - 1) assertEquals(await snapshot(grouped, hasSmall), before, `batch ${index}`);
        }
        before = await snapshot(grouped, hasSmall);
        return loss;
      };
      // The second group's keys go past the end of the queue.
      for (const first of [0, 6]) {
        const loss = await runGroup(first, size);
        const expected = await whole.run({ ...batchOf(first, 6), queuePointer: first });
        assertAlmostEquals(loss, expected.loss, 1e-5 * expected.loss);
        assertAlike(before, await snapshot(whole, hasSmall), `group of row ${first}`);
      }
      // An epoch's last group may be smaller.
      using rest = await start(gpu, { ...options, batch: 2 * batch }, {
        from: await snapshot(whole, hasSmall),
      });
      const loss = await runGroup(12, 2);
      const expected = await rest.run({ ...batchOf(12, 4), queuePointer: 2 });
      assertAlmostEquals(loss, expected.loss, 1e-5 * expected.loss);
      assertAlike(before, await snapshot(rest, hasSmall), "a smaller group");
    }));
}

Deno.test("a step that accumulates takes a batch alone as a group of one, and no group larger than it was made for", () =>
  withGpu(async (gpu) => {
    using grouped = await start(gpu, { accumulate: 2 });
    using plain = await start(gpu);
    const batch = { ...batchOf(0, 2), queuePointer: 8 };
    assertEquals(await grouped.run(batch), await plain.run(batch));
    assertEquals(await snapshot(grouped), await snapshot(plain));
    assertThrows(
      () => grouped.run({ ...batch, group: { index: 0, size: 3 } }),
      Error,
      "a group of 3 batches",
    );
    assertThrows(() => plain.run({ ...batch, group: { index: 0, size: 2 } }), Error, "a group of 2 batches");
    await assertRejects(
      () => start(gpu, { accumulate: 6 }),
      Error,
      "6 x 2, do not fit into a queue of 10 rows",
    );
  }));

Deno.test("a batch that gives NaN skips the step of its whole group, and that alone", () =>
  withGpu(async (gpu) => {
    using student = await start(gpu, { accumulate: 3, lossScale: INITIAL_LOSS_SCALE });
    const group = async (to: StudentStep, first: number, spoilt?: number) => {
      const steps = [];
      for (let index = 0; index < 3; index++) {
        const row = first + 2 * index;
        const batch = batchOf(row, 2);
        const images = index === spoilt
          ? new Float32Array(batch.images.byteLength / 4).fill(NaN)
          : batch.images;
        steps.push(await to.run({ ...batch, images, queuePointer: row % 10, group: { index, size: 3 } }));
      }
      return steps;
    };
    for (const spoilt of [0, 1, 2]) {
      const before = await snapshot(student);
      const { scale, skipped } = (await group(student, 0, spoilt)).at(-1)!.lossScale!;
      assertEquals([scale, skipped], [INITIAL_LOSS_SCALE.scale / 2 ** (spoilt + 1), spoilt + 1]);
      const after = await snapshot(student);
      assertEquals([after.weights, after.momentum], [before.weights, before.momentum]);
      // The one after it is what it would be without.
      using other = await start(gpu, { accumulate: 3, lossScale: { scale, goodSteps: 0, skipped } }, {
        from: after,
      });
      const [found, expected] = [await group(student, 6), await group(other, 6)];
      assertEquals(found.map(({ isApplied }) => isApplied), [true, true, true]);
      assertEquals(found.map(({ loss }) => loss), expected.map(({ loss }) => loss));
      assertEquals(await snapshot(student), await snapshot(other));
      // Counted from the skipped step on.
      assertEquals(found.at(-1)!.lossScale!.goodSteps, 1);
    }
    const steps = await group(student, 0, 1);
    assertEquals(steps.map(({ isApplied }) => isApplied), [true, true, false]);
    assertEquals(steps.map(({ loss }) => Number.isNaN(loss)), [false, true, false]);
  }));

/** Cuts the arenas wherever it can. */
function withSmallArenas(gpu: Gpu): Gpu {
  return { ...gpu, target: { ...gpu.target, arenaBytes: 256 } };
}

const VARIANTS: Readonly<Record<string, Partial<StudentStepOptions>>> = {
  "a plain step": {},
  "a group of two": { accumulate: 2, lossScale: INITIAL_LOSS_SCALE },
};

/** Two groups, or four steps. */
async function trainShortly(student: StudentStep, accumulate = 1): Promise<Snapshot> {
  for (let step = 0; step < 4; step++) {
    const group = { index: step % accumulate, size: accumulate };
    await student.run({ ...batchOf(2 * step, 2), queuePointer: 2 * step, group });
  }
  return await snapshot(student);
}

for (const [name, options] of Object.entries(VARIANTS)) {
  Deno.test(`an exchange that changes nothing gives the same bits as none, once a step: ${name}`, () =>
    withGpu(async (opened) => {
      const gpu = withSmallArenas(opened);
      const sizes: number[][] = [];
      const exchange: GradientExchange = {
        async exchange(gradients) {
          if (gradients.length > 0) sizes.push(gradients.map(({ size }) => size));
          const values = await Promise.all(gradients.map((buffer) => readBuffer(gpu, buffer)));
          for (const [i, buffer] of gradients.entries()) {
            assert(new Float32Array(values[i]).some((value) => value !== 0), "there are gradients");
            gpu.device.queue.writeBuffer(buffer, 0, values[i]);
          }
        },
      };
      using plain = await start(gpu, options);
      using exchanging = await start(gpu, options, { exchange });
      const expected = await trainShortly(plain, options.accumulate);
      assertEquals(await trainShortly(exchanging, options.accumulate), expected);
      const segments = plain.parameters.segments("parameter").map(({ size }) => size);
      assertEquals(sizes, Array.from({ length: 4 / (options.accumulate ?? 1) }, () => segments));
    }));

  for (const clipNorm of [undefined, 0.02]) {
    const clipped = clipNorm === undefined ? "" : ", clipped";
    Deno.test(`arenas that are cut change nothing: ${name}${clipped}`, () =>
      withGpu(async (gpu) => {
        using plain = await start(gpu, { ...options, clipNorm });
        using cut = await start(withSmallArenas(gpu), { ...options, clipNorm });
        assertEquals(plain.parameters.segments("gradient").length, 1);
        assert(cut.parameters.segments("gradient").length > 3);
        const [found, expected] = [
          await trainShortly(cut, options.accumulate),
          await trainShortly(plain, options.accumulate),
        ];
        // The squares of clipping are added in another order.
        if (clipNorm === undefined) assertEquals(found, expected);
        assertAlike(found, expected, name);
      }));
  }
}

/** Several steps on one device, whose gradients become their mean when all have come. */
class Averaging implements GradientExchange {
  readonly #gpu: Gpu;
  readonly #ranks: number;
  #waiting: { gradients: readonly GPUBuffer[]; ended: PromiseWithResolvers<void> }[] = [];

  constructor(gpu: Gpu, ranks: number) {
    this.#gpu = gpu;
    this.#ranks = ranks;
  }

  exchange(gradients: readonly GPUBuffer[]): Promise<void> {
    const ended = Promise.withResolvers<void>();
    this.#waiting.push({ gradients, ended });
    if (this.#waiting.length === this.#ranks) {
      const all = this.#waiting.splice(0);
      this.#average(all.map((rank) => rank.gradients)).then(
        () => all.forEach((rank) => rank.ended.resolve()),
        (error) => all.forEach((rank) => rank.ended.reject(error)),
      );
    }
    return ended.promise;
  }

  async #average(ranks: readonly (readonly GPUBuffer[])[]): Promise<void> {
    for (const segment of ranks[0].keys()) {
      const parts = await Promise.all(ranks.map((buffers) => readBuffer(this.#gpu, buffers[segment])));
      const values = parts.map((part) => new Float32Array(part));
      const averaged = values[0].map((_, i) => values.reduce((sum, of) => sum + of[i], 0) / ranks.length);
      for (const buffers of ranks) this.#gpu.device.queue.writeBuffer(buffers[segment], 0, averaged);
    }
  }
}

const RANKS: Readonly<Record<string, { accumulate: number; clipNorm?: number }>> = {
  "the doubled batch": { accumulate: 1 },
  "the doubled batch, clipped": { accumulate: 1, clipNorm: 0.02 },
  "all batches that they accumulate": { accumulate: 2 },
  "all batches that they accumulate, clipped": { accumulate: 2, clipNorm: 0.02 },
};

for (const [name, { accumulate, clipNorm }] of Object.entries(RANKS)) {
  Deno.test(`two ranks that average their gradients take the step of ${name}`, () =>
    withGpu(async (gpu) => {
      const options = { clipNorm, lossScale: INITIAL_LOSS_SCALE };
      const exchange = new Averaging(gpu, 2);
      using first = await start(gpu, { ...options, accumulate }, { exchange });
      using second = await start(gpu, { ...options, accumulate }, { exchange });
      const rows = 4 * accumulate;
      using whole = await start(gpu, { ...options, batch: rows });
      const ranks = [first, second];
      const runRank = async (rank: number, row: number, spoilt?: number) => {
        const steps: StepLoss[] = [];
        for (let index = 0; index < accumulate; index++) {
          const batch = batchOf(row + 2 * (rank * accumulate + index), 2);
          const isSpoilt = spoilt === rank && index === 0;
          const images = isSpoilt ? new Float32Array(2 * SIZE * SIZE * 4).fill(NaN) : batch.images;
          const group = { index, size: accumulate };
          steps.push(await ranks[rank].run({ ...batch, images, queuePointer: 2 * index, group }));
        }
        return steps;
      };
      for (const row of [0, rows, 2 * rows]) {
        // A rank's step puts its own keys alone into its queue: those of all are given to it here.
        for (const rank of ranks) rank.queues[0].load(await whole.queues[0].read());
        const steps = (await Promise.all([runRank(0, row), runRank(1, row)])).flat();
        const { loss } = await whole.run({ ...batchOf(row, rows), queuePointer: row % 8 });
        assertAlmostEquals(steps.reduce((sum, s) => sum + s.loss, 0) / steps.length, loss, 1e-5 * loss);
        const [expected, ...found] = [await snapshot(whole), await snapshot(first), await snapshot(second)];
        assertEquals([found[0].weights, found[0].momentum], [found[1].weights, found[1].momentum]);
        assertAlike({ ...found[0], queues: expected.queues }, expected, `rows from ${row}`);
      }
      // What is NaN on one is NaN on all: they stay alike.
      const before = await first.parameters.save();
      const steps = await Promise.all([runRank(0, 3 * rows, 1), runRank(1, 3 * rows, 1)]);
      assertEquals(steps.map((of) => of.at(-1)!.isApplied), [false, false]);
      assertEquals(await first.parameters.save(), before);
      assertEquals(await second.parameters.save(), before);
    }));
}

Deno.test("clipNorm scales the gradients of all weights together to a norm, and changes no bit where it is not reached", () =>
  withGpu(async (gpu) => {
    const maxNorm = 1e-3;
    for (const lossScale of [undefined, INITIAL_LOSS_SCALE]) {
      const [decay, weightDecay] = [0.7, 0.03]; // none of which is a default
      const options = { momentum: decay, weightDecay, clipNorm: maxNorm, lossScale };
      using clipped = await start(gpu, options);
      for (let step = 0; step < 3; step++) {
        const before = await snapshot(clipped);
        await clipped.run({ ...batchOf(2 * step, 2), queuePointer: 2 * step });
        const gradients = await clipped.parameters.saveArena("gradient");
        const unscaled = new Map(
          [...gradients].map(([key, values]) =>
            [key, Float64Array.from(values, (value) => value / (lossScale?.scale ?? 1))] as const
          ),
        );
        const { norm, factor } = clip64([...unscaled.values()], maxNorm);
        assert(norm > 10 * maxNorm, `a norm of ${norm}`);
        const after = await snapshot(clipped);
        for (const [key, values] of unscaled) {
          const weights = before.weights.get(key)!;
          const velocity = values.map((value, i) =>
            decay * before.momentum.get(key)![i] + factor * value + weightDecay * weights[i]
          );
          const expected = velocity.map((value, i) => weights[i] - RATE * value);
          assertLess(relativeError(after.momentum.get(key)!, velocity), 2e-6, `momentum of ${key}`);
          assertLess(relativeError(after.weights.get(key)!, expected), 1e-6, key);
        }
      }
    }
    using plain = await start(gpu);
    using unreached = await start(gpu, { clipNorm: 1e6 });
    assertEquals(await trainShortly(unreached), await trainShortly(plain));
  }));

const [ROWS, INPUTS, OUTPUTS] = [4, 5, 3];
const ADAMW: AdamWAttributes = { betas: [0.9, 0.99], epsilon: 1e-6, weightDecay: 0.1 };

/** Two linear layers side by side, each of which learns to give zeros: the losses are the means of their squares. */
function traceLayers(isScaled = true): GradientGraph {
  const graph = new Graph();
  const layers = ["first", "second"].map((name) => {
    const x = graph.source(`x of the ${name}`, [ROWS, 1, 1, INPUTS]);
    const builder = new EncoderBuilder(graph, "train");
    const y = builder.convolve(x, builder.linear(name, INPUTS, OUTPUTS));
    const loss = graph.apply(mean, [graph.apply(multiply, [y, y], {})], {});
    return { x, parameters: builder.parameters, loss };
  });
  const control = isScaled ? stepControl(graph) : undefined;
  const [inputs, losses] = [layers.map(({ x }) => x), layers.map(({ loss }) => loss)];
  const trained = layers.map(({ parameters }) => tensorsOf(parameters, "parameter"));
  const gradients = differentiate(graph, losses, trained.flat(), control);
  const models = layers.map(({ parameters }, i) => ({
    parameters,
    gradients: gradients.slice(2 * i, 2 * i + 2),
  }));
  return { label: "layers", graph, inputs, outputs: losses, models, control };
}

/** Gradients of a layer's weight [outputs, inputs] and bias. */
function layerGradients(
  x: Float64Array,
  weight: Float64Array,
  bias: Float64Array,
): [Float64Array, Float64Array] {
  const gradients: [Float64Array, Float64Array] = [
    new Float64Array(weight.length),
    new Float64Array(bias.length),
  ];
  for (let row = 0; row < ROWS; row++) {
    const inputs = x.subarray(row * INPUTS, (row + 1) * INPUTS);
    for (let o = 0; o < OUTPUTS; o++) {
      const y = inputs.reduce((sum, value, i) => sum + value * weight[o * INPUTS + i], bias[o]);
      const dy = 2 * y / (ROWS * OUTPUTS);
      for (const [i, value] of inputs.entries()) gradients[0][o * INPUTS + i] += dy * value;
      gradients[1][o] += dy;
    }
  }
  return gradients;
}

Deno.test("AdamW and the average of the weights are a float64 loop's, each model at its own learning rate", () =>
  withGpu(async (gpu) => {
    const traced = traceLayers();
    using step = await TrainingStep.create(gpu, traced, {
      rule: findOptimizer("adamw", { momentum: 0, ...ADAMW }),
      isChecked: true,
      lossScale: { ...NO_SCALE, scale: 256 },
      averages: true,
    });
    const expected = await Promise.all(["first", "second"].map(async (name, m) => {
      const values = new Map([[`${name}.weight`, [OUTPUTS, INPUTS]], [`${name}.bias`, [OUTPUTS]]].map(
        ([key, shape]) => [key as string, randomValues(key as string, shape as number[])] as const,
      ));
      await step.stores[m].load((key) => values.get(key)!);
      step.stores[m].loadArena(AVERAGE, values);
      return new Map(
        [...values].map(([key, weights]) => {
          const settings = key.endsWith(".bias") ? { ...ADAMW, weightDecay: 0 } : ADAMW;
          return [key, {
            layer: new AdamW64(weights, settings),
            average: Float64Array.from(weights),
          }] as const;
        }),
      );
    }));
    const half = { index: 0, size: 2 };
    assertThrows(() => step.submit({ learningRates: [0, 0], group: half }, () => {}), Error, "accumulates");
    const steps = 10;
    for (let s = 0; s < steps; s++) {
      const isSkipped = s === 6; // for the second's NaN, by the first too
      const values = traced.inputs.map((_, m) => randomValues(`x ${m} ${s}`, [ROWS, INPUTS]));
      const learningRates = [0.02 / (s + 1), 0.1].map(Math.fround);
      const averageMomentum = [0.9, 0.5, 0.99][s % 3];
      if (isSkipped) values[1].fill(NaN);
      for (const [m, x] of traced.inputs.entries()) {
        step.gradientProgram.write(x, padRows(values[m], [ROWS, INPUTS]));
      }
      assertEquals(step.submit({ learningRates, averageMomentum }, () => {}), undefined);
      for (const [m, layer] of expected.entries()) {
        const [weight, bias] = [...layer.values()];
        for (const { layer: { weights }, average } of [weight, bias]) {
          for (const [i, value] of weights.entries()) {
            average[i] = averageMomentum * average[i] + (1 - averageMomentum) * value;
          }
        }
        if (!isSkipped) {
          const gradients = layerGradients(
            Float64Array.from(values[m]),
            weight.layer.weights,
            bias.layer.weights,
          );
          weight.layer.step(gradients[0], learningRates[m]);
          bias.layer.step(gradients[1], learningRates[m]);
        }
      }
      const control = unpackStepControl(new Float32Array(await readBuffer(gpu, step.control)));
      assertEquals([control.isApplied, control.steps], [!isSkipped, s < 6 ? s + 1 : s]);
    }
    for (const [m, layer] of expected.entries()) {
      const store = step.stores[m];
      const arenas = {
        weights: await store.save(),
        exp_avg: await store.saveArena("exp_avg"),
        exp_avg_sq: await store.saveArena("exp_avg_sq"),
        average: await store.saveArena(AVERAGE),
      };
      for (const [key, { layer: { weights, mean, square }, average }] of layer) {
        const wanted = { weights, exp_avg: mean, exp_avg_sq: square, average };
        for (const [arena, found] of Object.entries(arenas)) {
          const error = relativeError(found.get(key)!, wanted[arena as keyof typeof wanted]);
          assertLess(error, 1e-5, `${arena} of ${key}`);
        }
      }
    }
  }));

Deno.test("a graph reads the average of the weights when it has moved towards them", () =>
  withGpu(async (gpu) => {
    const graph = new Graph();
    const x = graph.source("x", [ROWS, 1, 1, INPUTS]);
    const layerOf = (builder: EncoderBuilder) => builder.convolve(x, builder.linear("fc", INPUTS, OUTPUTS));
    const [query, momentum] = [new EncoderBuilder(graph, "train"), new EncoderBuilder(graph, "train")];
    const [y, key] = [layerOf(query), layerOf(momentum)];
    const { parameters } = query;
    const loss = graph.apply(mean, [y], {});
    using step = await TrainingStep.create(gpu, {
      label: "momentum encoder",
      graph,
      inputs: [x],
      outputs: [loss, key],
      models: [{
        parameters,
        gradients: differentiate(graph, loss, tensorsOf(parameters, "parameter")),
        averaged: tensorsOf(momentum.parameters, "parameter"),
      }],
    }, { rule: findOptimizer("sgd", { momentum: 0, weightDecay: 0 }), averages: true });
    const weights = new Map([
      ["fc.weight", randomValues("w", [OUTPUTS, INPUTS])],
      ["fc.bias", randomValues("b", [OUTPUTS])],
    ]);
    const average = new Map(
      [...weights].map(([name, values]) => [name, values.map((value) => 2 * value + 1)]),
    );
    await step.stores[0].load((name) => weights.get(name)!);
    step.stores[0].loadArena(AVERAGE, average);
    const values = randomValues("x", [ROWS, INPUTS]);
    step.gradientProgram.write(x, padRows(values, [ROWS, INPUTS]));
    for (let s = 0; s < 2; s++) {
      const [before, now] = [await step.stores[0].saveArena(AVERAGE), await step.stores[0].save()];
      step.submit({ learningRates: [0.5], averageMomentum: 0.5 }, () => {});
      const found = unpadRows(await step.gradientProgram.read(key), [ROWS, OUTPUTS]);
      const [w, b] = ["fc.weight", "fc.bias"].map((name) =>
        before.get(name)!.map((value, i) => 0.5 * value + 0.5 * now.get(name)![i])
      );
      const expected = Float64Array.from({ length: ROWS * OUTPUTS }, (_, at) => {
        const [row, o] = [Math.floor(at / OUTPUTS), at % OUTPUTS];
        let sum = b[o];
        for (let i = 0; i < INPUTS; i++) sum += values[row * INPUTS + i] * w[o * INPUTS + i];
        return sum;
      });
      assertLess(relativeError(found, expected), 1e-5);
    }
  }));

function assertScheduled(schedules: readonly Schedule[], programs: readonly Program[]): void {
  assertEquals(
    schedules.map(({ dispatches, plan }) => [dispatches.length, plan.bytes]),
    programs.map(({ dispatches, plan }) => [dispatches, plan.bytes]),
  );
}

Deno.test("a step's schedule is that of the programs that are compiled", () =>
  withGpu(async (opened) => {
    for (const gpu of [opened, withSmallArenas(opened)]) {
      const variants: Partial<StudentStepOptions>[] = [
        {},
        { accumulate: 2, clipNorm: 1 },
        { local: SMALL, lossScale: INITIAL_LOSS_SCALE },
      ];
      for (const options of variants) {
        using student = await start(gpu, options);
        const schedules = scheduleStep(gpu.target, { ...OPTIONS, ...options });
        assertEquals(schedules.length, options.accumulate === undefined ? 2 : 3);
        assertScheduled(schedules, student.programs);
      }
      const settings = { momentum: 0.9, weightDecay: 0 };
      for (const name of optimizerNames()) {
        const options: OptimizerOptions = {
          rule: findOptimizer(name, settings),
          isChecked: true,
          clipNorm: 1,
          accumulates: true,
          averages: true,
        };
        using step = await TrainingStep.create(gpu, traceLayers(), options);
        assertScheduled(scheduleTrainingStep(gpu.target, traceLayers(), options), step.programs);
      }
    }
  }));

Deno.test("a step is not made where its control is needed and its gradients are not checked", () =>
  withGpu(({ target }) => {
    const [adamw, sgd] = ["adamw", "sgd"].map((name) => findOptimizer(name, { momentum: 0, weightDecay: 0 }));
    const [scaled, unscaled] = [traceLayers(), traceLayers(false)];
    const refused: [GradientGraph, OptimizerOptions][] = [
      [unscaled, { rule: adamw }],
      [unscaled, { rule: sgd, clipNorm: 1 }],
      [scaled, { rule: sgd }],
    ];
    for (const [graph, options] of refused) {
      assertThrows(() => scheduleTrainingStep(target, graph, options), Error, "isChecked");
      assertEquals(scheduleTrainingStep(target, graph, { ...options, isChecked: true }).length, 2);
    }
    return Promise.resolve();
  }));

Deno.test("findOptimizer() names the known ones where there is none of a name", () => {
  assertThrows(
    () => findOptimizer("lamb", { momentum: 0, weightDecay: 0 }),
    UserError,
    'there is no optimizer "lamb"; known are sgd, adamw',
  );
});

Deno.test("gradients come into buckets in the order in which they are made, and what lies together is one range", () => {
  const [first, second] = [{ label: "first" }, { label: "second" }] as GPUBuffer[];
  const range = (buffer: GPUBuffer, offset: number, bytes: number) => ({ buffer, offset, bytes });
  const gradients = [
    { ...range(first, 0, 100), doneAfter: 9 },
    { ...range(first, 256, 300), doneAfter: 7 },
    { ...range(first, 768, 200), doneAfter: 5 },
    { ...range(first, 4096, 40), doneAfter: 6 },
    { ...range(second, 0, 600), doneAfter: 8 },
  ];
  assertEquals(bucketGradients(gradients, 500), [
    // Made by dispatches 5 to 7: between them the first gradient would lie, which is not there yet.
    { doneAfter: 7, ranges: [range(first, 256, 712), range(first, 4096, 40)] },
    { doneAfter: 8, ranges: [range(second, 0, 600)] },
    { doneAfter: 9, ranges: [range(first, 0, 100)] },
  ]);
  assertEquals(bucketGradients(gradients, 1e9).map(({ doneAfter }) => doneAfter), [9]);
  assertEquals(bucketGradients([], 500), []);
});

for (const [kind, as] of KINDS) {
  Deno.test(`parameters that are added to each other get a gradient each, by ${kind}`, () =>
    withGpu(async (gpu) => {
      const shape = [3, 4];
      const count = 12;
      const graph = new Graph();
      const b = new EncoderBuilder(graph, "train");
      const [first, second, third] = ["first", "second", "third"].map((key) =>
        b.tokens(key, shape, { draw: "normal", deviation: 1 })
      );
      const factors = Float32Array.from({ length: count }, (_, i) => i - 5);
      const factor = b.made("factors", shape, { keys: [], toDevice: () => factors });
      // The gradient of the first two is one tensor, which that of the third is computed from.
      const scaled = graph.apply(multiply, [third, factor], {});
      const sum = graph.apply(add, [first, graph.apply(add, [second, scaled], {})], {});
      const loss = graph.apply(mean, [graph.apply(multiply, [sum, sum], {})], {});
      const gradients = differentiate(graph, loss, tensorsOf(b.parameters, "parameter"));
      using step = await TrainingStep.create(as(gpu), {
        ...{ label: "added", graph, inputs: [], outputs: [loss] },
        models: [{ parameters: b.parameters, gradients }],
      }, { rule: findOptimizer("sgd", { momentum: 0, weightDecay: 0 }) });
      const values = initialize(b.state, 0);
      const [store] = step.stores;
      await store.load((key) => values.get(key)!);
      step.submit({ learningRates: [0] }, () => {});
      const found = await store.saveArena(GRADIENT);
      const of = (key: string, i: number) => values.get(key)![i];
      const expected = Float32Array.from(
        factors,
        (factor, i) => 2 / count * (of("first", i) + of("second", i) + factor * of("third", i)),
      );
      assertLess(relativeError(found.get("first")!, expected), 1e-6);
      assertEquals(found.get("second"), found.get("first"));
      assertLess(relativeError(found.get("third")!, expected.map((value, i) => value * factors[i])), 1e-6);
    }));
}
