import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import type { StateEntry } from "../../../models/encoder_layers.ts";
import { initialize, initializeQueue, type StateValues } from "../../../models/initialize.ts";
import { findEncoder } from "../../../models/registry.ts";
import type { StepLoss } from "../../../methods/encoder_training/step_results.ts";
import { StudentStep, type StudentStepOptions } from "../../../methods/seed/step.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { FIXED_SCALE, INITIAL_LOSS_SCALE } from "../../../kernels/ops/loss_scale/loss_scale.ts";
import { Random } from "../../../data/random.ts";
import { relativeError, withGpu } from "../../kernels/check_op.ts";
import { IS_LONG } from "../../long.ts";
import { formulaTensor, GOLDEN_SEED, REFERENCE_SEED, referenceJson } from "../../reference.ts";
import {
  formulaEncoder,
  formulaImages,
  formulaReader,
  REFERENCE_HEAD,
} from "../../models/reference_encoder.ts";
import { skip } from "../../skip.ts";

const REFERENCE = referenceJson("train_steps.json");
/** How it was made is said in it. */
const FLOAT64 = new URL("../../golden/small_patches_float64.json", import.meta.url);

/** Of `train_steps.json`, and of the original's recipes. */
const SETTINGS = { temperature: 0.2, teacherTemperature: 0.01, momentum: 0.9, weightDecay: 1e-4 };

/** A queue of the reference: 256 unit rows in `train_steps.json`. */
function referenceQueue(rows = 256, name = "queue"): Float32Array<ArrayBuffer> {
  const queue = Float32Array.from(formulaTensor(name, [rows, 128], "unit"));
  for (let row = 0; row < rows; row++) {
    const values = queue.subarray(row * 128, (row + 1) * 128);
    const norm = Math.hypot(...values);
    for (const [i, value] of values.entries()) values[i] = value / norm;
  }
  return queue;
}

let teacherEmbeddings: Promise<Float32Array<ArrayBuffer>[]> | undefined;

/** What the ResNet-50 of `train_steps.json` gives for the images of each step: the same for every student. */
async function embedSteps(gpu: Gpu, steps: number): Promise<Float32Array<ArrayBuffer>[]> {
  using teacher = await formulaEncoder(gpu, "resnet50", {
    batch: 8,
    imageSize: 64,
    output: "normalized",
  }, "teacher.");
  const embeddings = [];
  for (let step = 0; step < steps; step++) {
    embeddings.push((await teacher.embed(formulaImages(`input/step${step}`, 8, 64))).slice());
  }
  return embeddings;
}

for (const name of ["resnet18", "mobilenetv3_small", "efficientnet_b0"]) {
  const expected = REFERENCE.students[name];
  Deno.test(`parity: five training steps of ${name} under a ResNet-50 teacher equal the original's`, () =>
    withGpu(async (gpu) => {
      const taught = await (teacherEmbeddings ??= embedSteps(gpu, expected.losses.length));
      using student = await StudentStep.create(gpu, {
        encoder: findEncoder(name),
        head: REFERENCE_HEAD,
        batch: 8,
        imageSize: 64,
        input: "normalized",
        queueSize: 256,
        ...SETTINGS,
      });
      await student.parameters.load(formulaReader(student.state, "student."));
      student.queues[0].load(referenceQueue());

      for (const [step, expectedLoss] of expected.losses.entries()) {
        const images = formulaImages(`input/step${step}`, 8, 64);
        const embeddings = taught[step];
        const { loss } = await student.run({
          images,
          teacher: embeddings,
          learningRate: 0.03,
          queuePointer: step * 8,
        });
        assertAlmostEquals(
          loss,
          expectedLoss,
          (step === 0 ? 1e-5 : 1e-3) * expectedLoss,
          `loss of step ${step}`,
        );
        if (step > 0) continue;
        const teacherError = relativeError(
          embeddings.subarray(0, 128),
          expected.teacher_embedding_step0_row0,
        );
        assert(teacherError <= 1e-4, `teacher embedding: ${teacherError}`);
        const embedded = (await student.readEmbeddings()).subarray(0, 128);
        const studentError = relativeError(embedded, expected.student_embedding_step0_row0);
        assert(studentError <= 1e-4, `student embedding: ${studentError}`);
        // A bias in front of a convolution with a batch norm has no gradient but rounding: batch norm takes the mean away.
        const rounding = 1e-6 *
          Math.max(...Object.values<[number, number]>(expected.grad1).map(([, norm]) => norm));
        for (const [key, gradient] of await student.parameters.saveArena("gradient")) {
          const [sum, norm] = expected.grad1[key];
          const found = [
            gradient.reduce((a, b) => a + b, 0),
            Math.sqrt(gradient.reduce((a, b) => a + b * b, 0)),
          ];
          // A sum of n values, each right to 1e-3 of the norm at worst in a random direction, is off by sqrt(n) of that.
          assertAlmostEquals(
            found[0],
            sum,
            (1e-3 * norm + rounding) * Math.sqrt(gradient.length),
            `gradient of ${key}: sum`,
          );
          assertAlmostEquals(found[1], norm, 1e-3 * norm + rounding, `gradient of ${key}: norm`);
        }
      }

      const values = await student.parameters.save();
      const norm = (key: string) => Math.sqrt(values.get(key)!.reduce((a, b) => a + b * b, 0));
      const norms: Record<string, number> = {
        ...expected.weights_after5_norm,
        ...expected.buffers_after5_norm,
      };
      for (const [key, expectedNorm] of Object.entries(norms)) {
        assertAlmostEquals(norm(key), expectedNorm, 1e-3 * expectedNorm, key);
      }
      const queue = await student.queues[0].read();
      assert(
        Math.abs(queue[0] - expected.teacher_embedding_step0_row0[0]) < 1e-4,
        "the queue holds the first key",
      );
      assertEquals(queue.subarray(5 * 8 * 128), referenceQueue().subarray(5 * 8 * 128));
    }));
}

Deno.test("parity: a step with small views under a SWAV teacher equals the original's main_small-patch.py", () =>
  withGpu(async (gpu) => {
    const expected = referenceJson("small_patches.json");
    const [batch, views] = [8, 6];
    const teacherOptions = {
      batch,
      imageSize: 64,
      output: "normalized",
      head: { kind: "mlp_bn", dimension: 128, hidden: 2048 },
    } as const;
    using teacher = await formulaEncoder(gpu, "swav_resnet50", teacherOptions, "teacher.");
    using localTeacher = await teacher.share({ batch: batch * views, imageSize: 32 });
    using student = await StudentStep.create(gpu, {
      encoder: findEncoder("resnet18"),
      head: REFERENCE_HEAD,
      batch,
      imageSize: 64,
      input: "normalized",
      local: { views, imageSize: 32 },
      queueSize: 64,
      temperature: 0.2,
      teacherTemperature: 0.05,
      momentum: 0.9,
      weightDecay: 0,
    });
    await student.parameters.load(formulaReader(student.state, "student."));
    const queues = [referenceQueue(64), referenceQueue(64, "small_queue")];
    for (const [which, queue] of queues.entries()) student.queues[which].load(queue);

    const images = formulaImages("input/main", batch, 64);
    const smallImages = formulaImages("input/small", batch * views, 32);
    const [embeddings, smallEmbeddings] = [
      await teacher.embed(images),
      await localTeacher.embed(smallImages),
    ];
    const loss = await student.run({
      images,
      teacher: embeddings,
      local: { images: smallImages, teacher: smallEmbeddings },
      learningRate: 0.03,
      queuePointer: 16,
    });
    const [main, small] = loss.losses;
    assertAlmostEquals(main, expected.loss_main, 1e-5 * expected.loss_main, "loss of the main views");
    assertAlmostEquals(
      small,
      expected.loss_small,
      1e-5 * expected.loss_small,
      "loss of the small views",
    );
    assertEquals(loss.loss, main + small);
    // Of the units that ReLU lets pass, float32 decides some one way or the other: the reference is 3.0e-3 from float64.
    const float64 = JSON.parse(Deno.readTextFileSync(FLOAT64)).grad_norms;
    for (const [key, gradient] of await student.parameters.saveArena("gradient")) {
      const norm = Math.sqrt(gradient.reduce((a, b) => a + b * b, 0));
      const [wanted, exact] = [expected.grad_norms[key], float64[key]];
      assertAlmostEquals(norm, wanted, 5e-3 * wanted, `gradient of ${key}: norm`);
      if (REFERENCE_SEED !== GOLDEN_SEED) continue; // the norms in float64 are of other weights
      assertAlmostEquals(norm, exact, 3e-3 * exact, `gradient of ${key}: norm, in float64`);
    }
    const values = await student.parameters.save();
    for (const [key, wanted] of Object.entries<number>(expected.running_mean_after)) {
      const norm = Math.sqrt(values.get(key)!.reduce((a, b) => a + b * b, 0));
      assertAlmostEquals(norm, wanted, 1e-3 * wanted, key);
    }
    const [queue, smallQueue] = [await student.queues[0].read(), await student.queues[1].read()];
    const enqueued = smallQueue.subarray(16 * 128, 17 * 128);
    const error = relativeError(enqueued, expected.enqueued_small_row0);
    assert(error <= 1e-4, `the small queue's first new key: ${error}`);
    // The first small view of each image, and nothing else.
    for (let row = 0; row < batch; row++) {
      const [to, from] = [(16 + row) * 128, row * views * 128];
      assertEquals(smallQueue.subarray(to, to + 128), smallEmbeddings.subarray(from, from + 128));
    }
    assertEquals(queue.subarray(16 * 128, 24 * 128), embeddings);
    for (const [which, found] of [queue, smallQueue].entries()) {
      for (const [from, to] of [[0, 16 * 128], [24 * 128, 64 * 128]]) {
        assertEquals(found.subarray(from, to), queues[which].subarray(from, to));
      }
    }
  }));

const drawn = new Map<string, StateValues>();

/** Weights of a seed, which are drawn once for the same entries. */
function drawWeights(state: readonly StateEntry[]): StateValues {
  const entries = JSON.stringify(state);
  const weights = drawn.get(entries) ?? initialize(state, 5);
  drawn.set(entries, weights);
  return weights;
}

/** Of the tests that have no reference. */
const SMALL = { ...SETTINGS, batch: 4, imageSize: 32, queueSize: 12 };

/** Images of 8 x 8 px blocks of random colours: unlike each other, as batch norm needs them. */
function blockImages(count: number, size: number, seed: number): Uint8Array<ArrayBuffer> {
  const blocks = Math.ceil(size / 8);
  const random = new Random(seed, "block images");
  const colours = Uint8Array.from({ length: count * blocks * blocks * 4 }, () => random.integer(0, 255));
  return new Uint8Array(count * size * size * 4).map((_, i) => {
    const [x, y, image] = [
      (i >> 2) % size,
      Math.floor(i / (4 * size)) % size,
      Math.floor(i / (4 * size * size)),
    ];
    return colours[((image * blocks + (y >> 3)) * blocks + (x >> 3)) * 4 + i % 4];
  });
}

/** Some steps of a fresh student. */
async function trainShortly(gpu: Gpu, name: string, options: Partial<StudentStepOptions> = {}, count = 3) {
  using student = await StudentStep.create(gpu, {
    encoder: findEncoder(name),
    head: { kind: "mlp", dimension: 128 },
    ...SMALL,
    ...options,
  });
  const { batch, imageSize, queueSize } = { ...SMALL, ...options };
  const weights = drawWeights(student.state);
  await student.parameters.load((key) => weights.get(key)!);
  student.queues[0].load(initializeQueue(queueSize, 128, 5));
  const steps: StepLoss[] = [];
  for (let step = 0; step < count; step++) {
    steps.push(
      await student.run({
        images: blockImages(batch, imageSize, step),
        teacher: initializeQueue(batch, 128, 100 + step),
        learningRate: 0.03,
        queuePointer: step * batch % queueSize,
      }),
    );
  }
  return {
    losses: steps.map(({ loss }) => loss),
    scales: steps.map(({ lossScale }) => lossScale),
    weights: await student.parameters.save(),
    momentum: await student.parameters.saveArena("momentum"),
    held: student.programs.reduce((sum, { plan }) => sum + plan.bytes, 0),
  };
}

Deno.test("StudentStep gives the same bits twice, with activations computed again, and with a scaled loss", () =>
  withGpu(async (gpu) => {
    for (const student of ["mobilenetv3_small", ...IS_LONG ? ["resnet18"] : []]) {
      const { held, scales: _, ...expected } = await trainShortly(gpu, student);
      const again = await trainShortly(gpu, student);
      assertEquals({ ...again, held, scales: [] }, { ...expected, held, scales: [] });
      const recomputed = await trainShortly(gpu, student, { checkpointActivations: true });
      assertEquals({ ...recomputed, held, scales: [] }, { ...expected, held, scales: [] });
      assertLess(recomputed.held, 0.9 * held);
      // A power of two changes no digit.
      const scaled = await trainShortly(gpu, student, { lossScale: INITIAL_LOSS_SCALE });
      assertEquals(scaled.scales.at(-1), { ...INITIAL_LOSS_SCALE, goodSteps: 3 });
      assertEquals({ ...scaled, held, scales: [] }, { ...expected, held, scales: [] });
    }
  }));

Deno.test("StudentStep takes no step whose gradients overflow, and goes on with a smaller scale", () =>
  withGpu(async (gpu) => {
    const lossScale = { scale: 2 ** 127, goodSteps: 7, skipped: 0 };
    const { losses, scales, momentum } = await trainShortly(gpu, "resnet18", { lossScale }, 1);
    assertEquals(scales, [{ scale: 2 ** 126, goodSteps: 0, skipped: 1 }]);
    assert(losses.every(Number.isFinite));
    for (const [key, values] of momentum) assert(values.every((value) => value === 0), key);
  }));

for (const counts of [true, false]) {
  const title = counts ? "and counts it where it is told to" : "where nothing is scaled or counted too";
  Deno.test(`StudentStep takes no step on images that are NaN, ${title}, and all stays finite`, () =>
    withGpu(async (gpu) => {
      const lossScale = { scale: 1, goodSteps: 0, skipped: 0 };
      using student = await StudentStep.create(gpu, {
        encoder: findEncoder("resnet18"),
        head: { kind: "mlp", dimension: 128 },
        ...SMALL,
        input: "normalized",
        ...counts && { lossScale, lossScaleRule: FIXED_SCALE },
      });
      const weights = drawWeights(student.state);
      await student.parameters.load((key) => weights.get(key)!);
      student.queues[0].load(initializeQueue(12, 128, 5));
      const step = (images: Float32Array<ArrayBuffer>) =>
        student.run({ images, teacher: initializeQueue(4, 128, 7), learningRate: 0.03, queuePointer: 0 });
      const images = formulaImages("images", 4, 32);
      const first = await step(images);
      assertEquals([first.isApplied, first.lossScale], [true, counts ? lossScale : undefined]);
      const trained = await student.parameters.saveArena("momentum");
      const parameters = async () => [...await student.parameters.save()].filter(([key]) => trained.has(key));
      const before = await parameters();
      const spoilt = await step(images.map((value, i) => i === 100 ? NaN : value));
      assertEquals([spoilt.loss, spoilt.isApplied], [NaN, false]);
      assertEquals(spoilt.lossScale, counts ? { ...lossScale, skipped: 1 } : undefined);
      assertEquals(await parameters(), before);
      assertEquals(await student.parameters.saveArena("momentum"), trained);
      for (const [key, values] of await student.parameters.save()) assert(values.every(Number.isFinite), key);
      const after = await step(images);
      assert(Number.isFinite(after.loss) && after.isApplied);
    }));
}

Deno.test("StudentStep in mixed precision comes near to what float32 gives", {
  ignore: !IS_LONG, // kernels in float16 take half a minute to compile on a software adapter
}, () =>
  withGpu(async (gpu) => {
    if (!gpu.adapter.hasHalf) {
      return skip("StudentStep in mixed precision", `${gpu.adapter.name} has no float16`);
    }
    const settings = { batch: 8, imageSize: 32, queueSize: 16 };
    for (const name of ["resnet18", "mobilenetv3_large", "efficientnet_b0"]) {
      const full = await trainShortly(gpu, name, settings, 1);
      const lossScale = { ...INITIAL_LOSS_SCALE, scale: 1024 };
      const mixed = await trainShortly(gpu, name, { ...settings, mixedPrecision: true, lossScale }, 1);
      assertEquals(mixed.scales, [{ ...lossScale, goodSteps: 1 }]);
      assertAlmostEquals(mixed.losses[0], full.losses[0], 1e-3 * full.losses[0], name);
      const [a, b] = [full, mixed].map(({ momentum }) =>
        [...momentum.values()].flatMap((values) => [...values])
      );
      const dot = (x: number[], y: number[]) => x.reduce((sum, value, i) => sum + value * y[i], 0);
      const cosine = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
      // PyTorch's ResNet-18 with every layer's output rounded to float16 comes to 0.012 here: batch norm over so few pixels.
      assertLess(1 - cosine, 3e-2, `${name}: the gradients' directions`);
      assertAlmostEquals(dot(b, b) / dot(a, a), 1, 0.1, `${name}: the gradients' lengths`);
      assertLess(mixed.held, 0.6 * full.held, name);
    }
  }));

Deno.test("StudentStep's dropout and drop-connect follow the seed and the step alone", () =>
  withGpu(async (gpu) => {
    const embed = async (dropoutSeed: number | undefined, step: number) => {
      using student = await StudentStep.create(gpu, {
        encoder: findEncoder("efficientnet_b0"),
        head: REFERENCE_HEAD,
        ...SMALL,
        dropoutSeed,
      });
      const weights = drawWeights(student.state);
      await student.parameters.load((key) => weights.get(key)!);
      student.queues[0].load(initializeQueue(12, 128, 5));
      const { loss } = await student.run({
        images: new Uint8Array(4 * 32 * 32 * 4).map((_, i) => (i * 31) % 256),
        teacher: initializeQueue(4, 128, 100),
        learningRate: 0.03,
        queuePointer: 0,
        step,
      });
      return [loss, ...(await student.readEmbeddings())];
    };
    const first = await embed(1, 0);
    assertEquals(await embed(1, 0), first);
    for (const other of [await embed(1, 1), await embed(2, 0), await embed(undefined, 0)]) {
      const distance = Math.hypot(...other.map((value, i) => value - first[i]));
      assert(distance > 1e-2, `the embeddings are only ${distance} apart`);
    }
  }));
