// Fine-tunings with every setting away from its default, compared with the same steps by hand.
import { assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { BatchReader } from "../../../data/batch_reader.ts";
import { chooseLabelFraction } from "../../../data/label_fraction.ts";
import { openDataset } from "../../../data/open_dataset.ts";
import { packImages, TABLE_STRIDE } from "../../../data/pack.ts";
import { Random } from "../../../data/random.ts";
import { EpochOrder } from "../../../data/sampler.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { ViewMaker } from "../../../kernels/image/view_maker.ts";
import { evaluationView, plainAugmentation, sampleView } from "../../../kernels/image/view_parameters.ts";
import { readFinetuneCheckpoint } from "../../../methods/finetune/checkpoint.ts";
import {
  FINETUNE_DEFAULTS,
  FINETUNE_SAMPLE_DEFAULTS,
  type FinetuneOptions,
  learningRatesOf,
} from "../../../methods/finetune/options.ts";
import { runFinetune } from "../../../methods/finetune/run.ts";
import { classifierState, FinetuneStep, FrozenClassifier } from "../../../methods/finetune/step.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { initialize } from "../../../models/initialize.ts";
import { findEncoder } from "../../../models/registry.ts";
import { groupOf } from "../../../models/training_step.ts";
import { type DrawnTeacher, drawTeacher } from "../../actors/drawn_teacher.ts";
import { hear } from "../../actors/hear.ts";
import { RunFolder, TINY_ENCODER } from "../../actors/small_run.ts";
import { withGpu } from "../../kernels/check_op.ts";

const [BATCH, SIZE, CLASSES, SEED, TEST_IMAGES] = [5, 24, 12, 9, 8];
const SETTINGS = {
  epochs: 4,
  startEpoch: 1,
  batchSize: BATCH,
  lr: 2,
  lrLastLayer: 7,
  scaleLr: true,
  warmupEpochs: 2,
  schedule: [3],
  gamma: 0.5,
  momentum: 0.7,
  weightDecay: 0.02,
  accumulate: 2, // of three batches in an epoch: a step of two, and one of one
  clipGrad: 0.3,
  statsEvery: 0,
  imageSize: SIZE,
  evalResize: "none",
  labelFraction: 0.6,
  seed: SEED,
  workers: 3,
} as const;

/** A rate in epochs 1 to 3: half-way through the warm-up, scaled, and multiplied by gamma or by the cosine. */
function ratesOf(lr: number, cos: boolean): number[] {
  const scaled = lr * 2 * BATCH / 256;
  const cosine = (epoch: number) => 0.5 * (1 + Math.cos(Math.PI * epoch / 4));
  return [lr + (scaled - lr) / 2, scaled * (cos ? cosine(2) : 1), scaled * (cos ? cosine(3) : 0.5)];
}

/** The same by hand. */
async function finetuneByHand(
  gpu: Gpu,
  data: string,
  testData: string,
  { arch, values: ofEncoder }: DrawnTeacher,
  cos: boolean,
) {
  const options = { encoder: findEncoder(arch), classes: CLASSES, batch: BATCH, imageSize: SIZE };
  using step = await FinetuneStep.create(gpu, {
    ...options,
    momentum: 0.7,
    weightDecay: 0.02,
    accumulate: 2,
    clipNorm: 0.3,
  });
  const state = classifierState(options.encoder, CLASSES);
  const fresh = initialize(state.classifier, SEED);
  await step.load((key) => fresh.get(key) ?? ofEncoder.get(key)!);
  const maker = new ViewMaker(gpu, { views: BATCH, width: SIZE, height: SIZE });
  const read = async (path: string, orderOf: (rows: number, labels: Int32Array) => EpochOrder) => {
    using dataset = await openDataset(path);
    const order = orderOf(dataset.rowCount, await dataset.readLabels());
    const reader = new BatchReader(dataset);
    const batches = [];
    for (let number = 0; number < order.batchCount; number++) {
      const images = packImages(await reader.read(order, number));
      const fields = Array.from({ length: images.count }, (_, i) => images.table.subarray(i * TABLE_STRIDE));
      const views = fields.map(([, width, height, row], i) =>
        path === testData
          ? evaluationView(width, height, SIZE, SIZE, i) // --eval-resize none
          : sampleView(
            new Random(SEED, "augment", order.epoch, row),
            plainAugmentation(SIZE),
            width,
            height,
            i,
          )
      );
      const pixels = new Uint8Array(BATCH * SIZE * SIZE * 4);
      pixels.set(
        new Uint8Array(await maker.augment(images, views)).subarray(0, views.length * SIZE * SIZE * 4),
      );
      batches.push({ images: pixels, labels: fields.map(([, , , , label]) => label) });
    }
    return batches;
  };
  const losses: number[] = [];
  for (const [i, epoch] of [1, 2, 3].entries()) {
    const [lr, lrLastLayer] = [SETTINGS.lr, SETTINGS.lrLastLayer].map((rate) => ratesOf(rate, cos)[i]);
    const batches = await read(
      data,
      (count, labels) =>
        new EpochOrder(count, SEED, epoch, BATCH, { rows: chooseLabelFraction(labels, 0.6, SEED) }),
    );
    for (const [number, batch] of batches.entries()) {
      const group = groupOf(number, batches.length, 2);
      losses.push((await step.train({ ...batch, lr, lrLastLayer, group })).loss);
    }
  }
  const values = await step.save();
  using frozen = await FrozenClassifier.create(gpu, options);
  await frozen.load((key) => values.get(key)!);
  let loss = 0;
  const tests = await read(
    testData,
    (count) => new EpochOrder(count, 0, 0, BATCH, { shuffle: false, dropLast: false }),
  );
  for (const batch of tests) loss += (await frozen.evaluate(batch)).loss * batch.labels.length / TEST_IMAGES;
  maker.destroy();
  return { losses, values, momentum: await step.saveArena("momentum"), testLoss: loss };
}

Deno.test("no setting of these runs is at its default", () => {
  for (const [name, value] of Object.entries(SETTINGS)) {
    for (const defaults of [FINETUNE_DEFAULTS, FINETUNE_SAMPLE_DEFAULTS]) {
      assertNotEquals(value, (defaults as unknown as Record<string, unknown>)[name], name);
    }
  }
});

Deno.test("learningRatesOf() scales both rates by all images of a step, which ends with its epoch", () => {
  const given = { ...FINETUNE_DEFAULTS, lr: 0.1, lrLastLayer: 1, scaleLr: true, batchSize: 64 };
  const of = (accumulate: number) =>
    // Its rates need neither data nor an encoder.
    learningRatesOf({ ...given, accumulate } as FinetuneOptions, { epoch: 0, batch: 0 }, 10);
  assertEquals(of(4), { lr: 0.1, lrLastLayer: 1 });
  assertEquals(of(100), { lr: 0.25, lrLastLayer: 2.5 });
});

for (const cos of [false, true]) {
  const title = cos ? "a cosine schedule" : "steps of the rates";
  Deno.test(`a fine-tuning with ${title} does with each of its settings what is done by hand`, () =>
    withGpu(async (gpu) => {
      using folder = new RunFolder(30, TEST_IMAGES);
      const pretrained = join(folder.path, "encoder.pth.tar");
      const teacher = await drawTeacher(pretrained, "tiny_convnet", { kind: "mlp", dimension: 20 }, 5);
      const options: FinetuneOptions = {
        ...FINETUNE_DEFAULTS,
        ...SETTINGS,
        schedule: [...SETTINGS.schedule],
        cos,
        pretrained,
        arch: "tiny_convnet",
        which: "student",
        data: join(folder.data, "train.tsv"),
        testData: join(folder.data, "test.tsv"),
        output: folder.makeOutput("run"),
        resume: null,
        evaluate: false,
        classes: CLASSES,
        plugins: [TINY_ENCODER],
      };
      const losses: number[] = [];
      const rates: number[][] = [];
      const { checkpoint, last } = await runFinetune(
        options,
        hear({
          step: ({ score }) => losses.push(score.loss),
          epoch: ({ lr, lrLastLayer }) => rates.push([lr, lrLastLayer]),
        }),
      );
      const expected = await finetuneByHand(gpu, options.data, options.testData, teacher, cos);
      for (const [epoch, found] of rates.entries()) {
        for (const [i, rate] of [SETTINGS.lr, SETTINGS.lrLastLayer].entries()) {
          assertAlmostEquals(found[i], ratesOf(rate, cos)[epoch], 1e-12);
        }
      }
      assertEquals(losses, expected.losses);
      assertAlmostEquals(last.loss, expected.testLoss, 1e-9);
      using file = await openCheckpointFile(checkpoint!);
      const saved = readFinetuneCheckpoint(file);
      assertEquals([saved.classes, saved.epoch], [CLASSES, 4]);
      for (const [key, values] of expected.values) {
        assertEquals(await saved.tensors.get(key)!.read(), values, key);
      }
      for (const [key, values] of expected.momentum) {
        assertEquals(await saved.momentum.get(key)!.read(), values, key);
      }
    }));
}
