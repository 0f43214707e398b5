// Runs with every setting away from its default, compared with the same steps by hand.
import { assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { readTrainingCheckpoint, transpose } from "../../../methods/encoder_training/checkpoint.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { join } from "node:path";
import { DEFAULT_WORKERS } from "../../../actors/default_workers.ts";
import { PAPER_DEFAULTS, SAMPLE_DEFAULTS } from "../../../methods/seed/defaults.ts";
import { runDistillation } from "../../../methods/seed/run.ts";
import type { DistillOptions } from "../../../methods/seed/options.ts";
import {
  plainAugmentation,
  swavAugmentation,
  swavLocalAugmentation,
} from "../../../kernels/image/view_parameters.ts";
import { FIXED_SCALE } from "../../../kernels/ops/loss_scale/loss_scale.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { openEncoderSource } from "../../../models/encoder_source.ts";
import { withGpu } from "../../kernels/check_op.ts";
import { type HandResult, trainByHand } from "./by_hand.ts";
import { drawTeacher } from "../../actors/drawn_teacher.ts";
import { PLAIN_PIXELS, RunFolder, TINY_ENCODER, withInput } from "../../actors/small_run.ts";
import { knn } from "../../../mod.ts";
import { hear } from "../../actors/hear.ts";

const DROPPING = new URL("../../actors/fixtures/dropping_encoder.ts", import.meta.url).href;
await import(DROPPING);

/** Compares a run with what was done by hand: losses, learning rates, and all that its checkpoint holds. */
async function assertSame(
  options: DistillOptions,
  expected: HandResult,
  learningRates: readonly number[],
): Promise<void> {
  const losses: number[] = [];
  const rates: number[] = [];
  const lossScales: unknown[] = [];
  let views: Uint8Array | undefined;
  let readers = 0;
  const { checkpoint } = await runDistillation(
    options,
    hear({
      step({ loss, lr, lossScale }) {
        losses.push(loss);
        lossScales.push(lossScale);
        rates.push(lr);
      },
      actors: ({ actors }) =>
        readers = [...actors.keys()].filter((name) => name.startsWith("tsv_reader")).length,
      views: ({ pixels, isLocal }) => {
        if (!isLocal) views ??= pixels;
      },
    }),
  );
  assertEquals(views, expected.firstViews.subarray(0, views!.length), "views of the first batch");
  assertEquals(rates.length, losses.length);
  assertEquals(readers, options.workers);
  for (const [i, rate] of rates.entries()) {
    const wanted = learningRates[Math.floor(i / (rates.length / learningRates.length))];
    assertAlmostEquals(rate, wanted, 1e-12, `learning rate of step ${i}`);
  }
  assertEquals(losses, expected.losses);
  assertEquals(lossScales, expected.lossScales);
  using file = await openCheckpointFile(checkpoint);
  const saved = readTrainingCheckpoint(DISTILL_CHECKPOINT, file);
  for (const [key, values] of expected.weights) {
    assertEquals(await saved.encoder.get(key)!.read(), values, key);
  }
  for (const [key, values] of expected.momentum) {
    assertEquals(await saved.momentum.get(key)!.read(), values, `momentum of ${key}`);
  }
  for (const [i, queue] of [saved.queue, saved.smallQueue].filter((queue) => queue !== undefined).entries()) {
    const keys = transpose(await queue.read() as Float32Array, options.dim, options.queue);
    assertEquals(keys, expected.queues[i], `queue ${i}`);
  }
  const { arch, epoch, sgd, encoder: student, queuePointer } = saved;
  assertEquals(epoch, options.startEpoch + learningRates.length, "the epoch to go on with");
  assertEquals(arch, options.studentArch);
  const { momentum, weightDecay } = options;
  assertEquals(sgd, { lr: rates.at(-1)!, momentum, weightDecay });
  assertEquals([...await queuePointer!.read()], [expected.pointer]);
  const [tracked] = [...student].filter(([key]) => key.endsWith("num_batches_tracked"));
  // As many as the epochs before would have had, too.
  const stepsBefore = options.startEpoch * losses.length / learningRates.length;
  assertEquals([...await tracked[1].read()], [stepsBefore + losses.length]);
}

/** Fails where a setting is the default one, which a run that ignores it would have too. */
function assertNoDefaults(settings: Partial<DistillOptions>): void {
  for (const [name, value] of Object.entries(settings)) {
    for (const defaults of [PAPER_DEFAULTS, SAMPLE_DEFAULTS] as unknown as Record<string, unknown>[]) {
      if (name in defaults) assertNotEquals(value, defaults[name], `${name} is at its default`);
    }
  }
}

const ROWS = 14;
/** Of a MoCo-v2 head, with a hidden layer, and shorter than the usual 128. */
const TEACHER_HEAD = { kind: "mlp", dimension: 20 } as const;

Deno.test("a run does with each of its settings what is done by hand: warm-up, cosine, SGD, loss, queue, views, seed", () =>
  withGpu(async (gpu) => {
    using folder = new RunFolder(ROWS);
    const distill = join(folder.path, "teacher.pth.tar");
    const settings = {
      batchSize: 4,
      epochs: 7,
      startEpoch: 1,
      lr: 0.05,
      scaleLr: true,
      warmupEpochs: 2,
      momentum: 0.6,
      weightDecay: 0.03,
      dim: 20,
      queue: 12,
      temp: 0.35,
      distillT: 0.06,
      studentMlp: false,
      imageSize: 24,
      checkpointActivations: true,
      workers: DEFAULT_WORKERS + 1,
      cache: "off",
      seed: 11,
    };
    const { scaleLr: _, ...others } = settings; // the paper's default, and not the sample's
    assertNoDefaults(others);
    const teacher = await drawTeacher(distill, "tiny_convnet", TEACHER_HEAD, 5);
    const options = folder.options("run", {
      ...settings,
      distill,
      teacherArch: "tiny_convnet",
      teacherSsl: "swav", // whose views have smaller crops
      limitSteps: 9,
    });
    // Three batches of four in each epoch; 4 / 256 of the rate after the warm-up.
    const scaled = 0.05 * 4 / 256;
    const learningRates = [
      0.05 + (scaled - 0.05) / 2, // epoch 1, half of the way down
      scaled * (1 + Math.cos(Math.PI * 2 / 7)) / 2,
      scaled * (1 + Math.cos(Math.PI * 3 / 7)) / 2,
    ];
    const expected = await trainByHand(gpu, {
      data: join(folder.data, "train.tsv"),
      teacher,
      seed: 11,
      batch: 4,
      imageSize: 24,
      augmentation: swavAugmentation(24),
      student: "tiny_convnet",
      head: { kind: "linear", dimension: 20 },
      queue: 12,
      temperature: 0.35,
      teacherTemperature: 0.06,
      momentum: 0.6,
      weightDecay: 0.03,
      loss: "seed",
      firstEpoch: 1,
      learningRates,
    });
    await assertSame(options, expected, learningRates);
  }));

Deno.test("a run does with each of its settings what is done by hand: steps of the rate, small views, loss, augmentation, skipping, dropout", () =>
  withGpu(async (gpu) => {
    using folder = new RunFolder(ROWS);
    const distill = join(folder.path, "teacher.pth.tar");
    const settings = {
      batchSize: 4,
      epochs: 3,
      lr: 0.04,
      cos: false,
      schedule: [1, 2],
      momentum: 0.5,
      weightDecay: 0.01,
      accumulate: 2, // of three batches in an epoch: a step of two, and one of one
      clipGrad: 0.05,
      dim: 20,
      queue: 12,
      temp: 0.3,
      distillT: 0.08,
      imageSize: 24,
      smallViews: 2,
      smallSize: 17,
      seed: 12,
    };
    assertNoDefaults(settings);
    const teacher = await drawTeacher(distill, "tiny_convnet", TEACHER_HEAD, 6);
    const options = folder.options("run", {
      ...settings,
      scaleLr: false,
      studentArch: "tiny_dropping",
      plugins: [TINY_ENCODER, DROPPING],
      distill,
      teacherArch: "tiny_convnet",
      augmentation: "plain",
      loss: "soft_seed",
      onNan: "skip",
    });
    const learningRates = [0.04, 0.004, 0.0004];
    const expected = await trainByHand(gpu, {
      data: join(folder.data, "train.tsv"),
      teacher,
      seed: 12,
      batch: 4,
      imageSize: 24,
      augmentation: plainAugmentation(24),
      local: { views: 2, imageSize: 17, augmentation: swavLocalAugmentation(17) },
      student: "tiny_dropping",
      head: { kind: "mlp", dimension: 20 },
      queue: 12,
      temperature: 0.3,
      teacherTemperature: 0.08,
      momentum: 0.5,
      weightDecay: 0.01,
      accumulate: 2,
      clipNorm: 0.05,
      loss: "soft_seed",
      lossScale: { scale: 1, goodSteps: 0, skipped: 0 },
      lossScaleRule: FIXED_SCALE,
      firstEpoch: 0,
      learningRates,
    });
    await assertSame(options, expected, learningRates);
  }));

for (const [teacherSize, imageSize, loss] of [[24, 16, "tokens"], [16, 24, "seed"]] as const) {
  Deno.test(`a run with mixup, the loss ${loss}, and a teacher at ${teacherSize} pixels of a student at ${imageSize}, does what is done by hand`, () =>
    withGpu(async (gpu) => {
      using folder = new RunFolder(ROWS);
      const distill = join(folder.path, "teacher.pth.tar");
      const teacher = await drawTeacher(distill, "tiny_convnet", TEACHER_HEAD, 6);
      const settings = {
        ...{ batchSize: 4, epochs: 2, cos: false, schedule: [1], lr: 0.04, scaleLr: false, seed: 12 },
        ...{
          dim: 20,
          queue: 12,
          temp: 0.3,
          distillT: 0.08,
          studentMlp: false,
          momentum: 0.5,
          weightDecay: 0.01,
        },
        ...{ imageSize, teacherSize, mixup: 0.6, smallViews: 2, smallSize: 12 },
        ...{ distill, teacherArch: "tiny_convnet", augmentation: "plain" },
        ...{ loss, tokenT: 0.11, tokenWeight: 0.6 },
      };
      const learningRates = [0.04, 0.004];
      const expected = await trainByHand(gpu, {
        ...{ data: join(folder.data, "train.tsv"), teacher, seed: 12, batch: 4, imageSize, teacherSize },
        ...{ mixup: 0.6, augmentation: plainAugmentation(imageSize), queue: 12, loss },
        ...loss === "tokens" && { tokens: { temperature: 0.11, weight: 0.6 } },
        local: { views: 2, imageSize: 12, augmentation: swavLocalAugmentation(12) },
        ...{ student: "tiny_convnet", head: { kind: "linear", dimension: 20 } },
        ...{ temperature: 0.3, teacherTemperature: 0.08, momentum: 0.5, weightDecay: 0.01 },
        ...{ firstEpoch: 0, learningRates },
      });
      await assertSame(folder.options("run", { ...settings, workers: 3 }), expected, learningRates);
      if (teacherSize < imageSize) return;

      // Stopped within the first epoch, and resumed with other readers.
      const part = async (name: string, changes: Partial<DistillOptions>) => {
        const losses: number[] = [];
        const options = folder.options(name, { ...settings, ...changes });
        const { checkpoint } = await runDistillation(
          options,
          hear({ step: ({ loss }) => losses.push(loss) }),
        );
        return { losses, checkpoint };
      };
      const first = await part("first", { workers: 2, limitSteps: 2 });
      const rest = await part("rest", { resume: first.checkpoint });
      assertEquals([...first.losses, ...rest.losses], expected.losses);
      using source = await openEncoderSource(rest.checkpoint, { which: "teacher", part: "encoder" });
      assertEquals(source.input?.imageSize, teacherSize);
    }));
}

Deno.test("a run normalises pixels as the checkpoint that its student starts from, in its evaluations and when it is resumed too", () =>
  withGpu(async (gpu) => {
    using folder = new RunFolder(ROWS, 60);
    const [distill, drawn] = ["teacher", "drawn"].map((name) => join(folder.path, `${name}.pth.tar`));
    const teacher = await drawTeacher(distill, "tiny_convnet", TEACHER_HEAD, 6);
    await drawTeacher(drawn, "tiny_convnet", TEACHER_HEAD, 12);
    const studentInit = await withInput(drawn, join(folder.path, "init.pth.tar"), PLAIN_PIXELS);
    const settings = {
      ...{ batchSize: 4, epochs: 2, cos: false, schedule: [1], lr: 0.04, scaleLr: false, seed: 12, dim: 20 },
      ...{ queue: 12, temp: 0.3, distillT: 0.08, momentum: 0.5, weightDecay: 0.01, imageSize: 24 },
      ...{ smallViews: 2, smallSize: 12, distill, studentInit, augmentation: "plain" },
    };
    const learningRates = [0.04, 0.004];
    const expected = await trainByHand(gpu, {
      ...{ data: join(folder.data, "train.tsv"), teacher, seed: 12, batch: 4, imageSize: 24, queue: 12 },
      ...{ augmentation: plainAugmentation(24), loss: "seed", firstEpoch: 0, learningRates },
      normalization: { mean: [0, 0, 0], deviation: [1, 1, 1] },
      local: { views: 2, imageSize: 12, augmentation: swavLocalAugmentation(12) },
      ...{ student: "tiny_convnet", head: TEACHER_HEAD },
      ...{ temperature: 0.3, teacherTemperature: 0.08, momentum: 0.5, weightDecay: 0.01 },
    });
    await assertSame(folder.options("run", settings), expected, learningRates);

    const testData = join(folder.data, "test.tsv");
    const losses: number[] = [];
    const notes: string[] = [];
    const part = (changes: Partial<DistillOptions>) =>
      runDistillation(
        folder.options(changes.resume === undefined ? "first" : "rest", {
          ...settings,
          testData,
          ...changes,
        }),
        hear({ step: ({ loss }) => losses.push(loss), note: ({ text }) => notes.push(text) }),
      );
    const first = await part({ limitSteps: 2 });
    assertEquals(
      notes.filter((note) => note.includes("starts from")),
      [
        `the student starts from ${studentInit} (a moco checkpoint), with its head; its images are normalised by ` +
        "mean 0 0 0, std 1 1 1",
      ],
    );
    // Its checkpoint says it, not the file that the run began with.
    const rest = await part({ resume: first.checkpoint, studentInit: null });
    assertEquals(losses, expected.losses);
    const views = { imageSize: 24, data: folder.data, plugins: [TINY_ENCODER] };
    for (
      const [pretrained, found] of [[studentInit, first.knn!.before], [
        rest.checkpoint,
        rest.knn!.after,
      ]] as const
    ) {
      const [{ top1, top5 }] = await knn({ ...views, pretrained, arch: "tiny_convnet", knnK: [5] }).result;
      assertEquals(found, { top1, top5 });
    }
    using source = await openEncoderSource(rest.checkpoint, { part: "encoder" });
    assertEquals(source.normalization, { mean: [0, 0, 0], deviation: [1, 1, 1] });
  }));
