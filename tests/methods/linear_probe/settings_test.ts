// Linear evaluations with every setting away from its default, compared with the same steps by hand.
import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { DEFAULT_WORKERS } from "../../../actors/default_workers.ts";
import { runLinearEvaluation } from "../../../methods/linear_probe/run.ts";
import {
  LINEAR_DEFAULTS,
  LINEAR_SAMPLE_DEFAULTS,
  type LinearOptions,
} from "../../../methods/linear_probe/options.ts";
import { BatchReader } from "../../../data/batch_reader.ts";
import { chooseLabelFraction } from "../../../data/label_fraction.ts";
import { openDataset } from "../../../data/open_dataset.ts";
import { packImages, TABLE_STRIDE } from "../../../data/pack.ts";
import { Random } from "../../../data/random.ts";
import { EpochOrder } from "../../../data/sampler.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { ViewMaker } from "../../../kernels/image/view_maker.ts";
import { evaluationView, plainAugmentation, sampleView } from "../../../kernels/image/view_parameters.ts";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { readSgdSettings } from "../../../models/checkpoint/sgd_state.ts";
import type { TorchDict } from "../../../models/checkpoint/torch_value.ts";
import { readLinearCheckpoint } from "../../../methods/linear_probe/checkpoint.ts";
import { FrozenEncoder } from "../../../models/inference.ts";
import { initialize } from "../../../models/initialize.ts";
import { LinearProbes } from "../../../methods/linear_probe/step.ts";
import { findEncoder } from "../../../models/registry.ts";
import { withGpu } from "../../kernels/check_op.ts";
import { type DrawnTeacher, drawTeacher } from "../../actors/drawn_teacher.ts";
import { RunFolder, TINY_ENCODER } from "../../actors/small_run.ts";
import { hear } from "../../actors/hear.ts";

const [BATCH, SIZE, CLASSES] = [8, 24, 12];
const SEED = 9;
const SETTINGS = {
  epochs: 4,
  startEpoch: 1,
  batchSize: BATCH,
  lr: [2, 0.5],
  warmupEpochs: 2,
  schedule: [3],
  momentum: 0.7,
  weightDecay: 0.02,
  imageSize: SIZE,
  evalResize: "none",
  labelFraction: 0.5,
  seed: SEED,
  workers: DEFAULT_WORKERS + 1,
} as const;

/** The rates of epochs 1 to 3 for a flag's value: half-way through the warm-up, scaled, and lowered. */
function ratesOf(lr: number): number[] {
  const scaled = lr * BATCH / 256;
  return [lr + (scaled - lr) / 2, scaled, scaled * 0.1];
}

/** The same by hand: the losses of the first classifier, and what of each is saved. */
async function evaluateByHand(
  gpu: Gpu,
  data: string,
  { arch, head, values }: DrawnTeacher,
  cacheFeatures: boolean,
) {
  const encoder = findEncoder(arch);
  using frozen = await FrozenEncoder.create(gpu, {
    encoder,
    head,
    batch: BATCH,
    imageSize: SIZE,
    output: "feature",
  });
  await frozen.load((key) => values.get(key)!);
  const maker = new ViewMaker(gpu, { views: BATCH, width: SIZE, height: SIZE });
  using probes = await LinearProbes.create(gpu, {
    features: encoder.features,
    classes: CLASSES,
    batch: BATCH,
    probes: 2,
    momentum: 0.7,
    weightDecay: 0.02,
  });
  const fresh = initialize(probes.state, SEED);
  for (const probe of [0, 1]) await probes.load(probe, (key) => fresh.get(key)!);
  using dataset = await openDataset(data);
  const reader = new BatchReader(dataset);
  const rows = chooseLabelFraction(await dataset.readLabels(), SETTINGS.labelFraction, SEED);

  const embed = async (order: EpochOrder, number: number, isEvaluation: boolean) => {
    const images = packImages(await reader.read(order, number));
    const fields = Array.from({ length: images.count }, (_, i) => images.table.subarray(i * TABLE_STRIDE));
    const views = fields.map(([, width, height, row], i) =>
      isEvaluation
        ? evaluationView(width, height, SIZE, SIZE, i) // --eval-resize none
        : sampleView(new Random(SEED, "augment", order.epoch, row), plainAugmentation(SIZE), width, height, i)
    );
    const pixels = new Uint8Array(BATCH * SIZE * SIZE * 4);
    pixels.set(
      new Uint8Array(await maker.augment(images, views)).subarray(0, views.length * SIZE * SIZE * 4),
    );
    const features = (await frozen.embed(pixels)).subarray(0, views.length * encoder.features);
    return { features, labels: fields.map(([, , , , label]) => label) };
  };
  const inOrder = new EpochOrder(dataset.rowCount, SEED, 0, BATCH, {
    shuffle: false,
    dropLast: false,
    rows,
  });
  const kept: { feature: Float32Array; label: number }[] = [];
  for (let number = 0; cacheFeatures && number < inOrder.batchCount; number++) {
    const { features, labels } = await embed(inOrder, number, true);
    for (const [i, label] of labels.entries()) {
      kept.push({ feature: features.slice(i * encoder.features, (i + 1) * encoder.features), label });
    }
  }
  const losses: number[] = [];
  for (const [i, epoch] of [1, 2, 3].entries()) {
    const order = cacheFeatures
      ? new EpochOrder(kept.length, SEED, epoch, BATCH, { dropLast: false })
      : new EpochOrder(dataset.rowCount, SEED, epoch, BATCH, { dropLast: false, rows });
    for (let number = 0; number < order.batchCount; number++) {
      const ofBatch = [...order.batch(number)].map((row) => kept[row]);
      const batch = cacheFeatures
        ? {
          features: Float32Array.from(ofBatch.flatMap(({ feature }) => [...feature])),
          labels: ofBatch.map(({ label }) => label),
        }
        : await embed(order, number, false);
      const [first] = await probes.train(batch, SETTINGS.lr.map((lr) => ratesOf(lr)[i]));
      losses.push(first.loss);
    }
  }
  maker.destroy();
  const saved = [];
  for (const probe of [0, 1]) {
    saved.push({ values: await probes.save(probe), momentum: await probes.saveMomentum(probe) });
  }
  return { losses, saved, images: rows.length };
}

Deno.test("no setting of these runs is at its default", () => {
  for (const [name, value] of Object.entries(SETTINGS)) {
    for (
      const defaults of [LINEAR_DEFAULTS, LINEAR_SAMPLE_DEFAULTS] as unknown as Record<string, unknown>[]
    ) {
      assertNotEquals(value, defaults[name], name);
    }
  }
});

for (const cacheFeatures of [false, true]) {
  const title = cacheFeatures ? "on features that are kept" : "on random crops";
  Deno.test(`a linear evaluation ${title} does with each of its settings what is done by hand`, () =>
    withGpu(async (gpu) => {
      using folder = new RunFolder(20, 8);
      const pretrained = join(folder.path, "encoder.pth.tar");
      const teacher = await drawTeacher(pretrained, "tiny_convnet", { kind: "mlp", dimension: 20 }, 5);
      const options: LinearOptions = {
        ...LINEAR_DEFAULTS, // which scale the rate
        ...SETTINGS,
        lr: [...SETTINGS.lr],
        schedule: [...SETTINGS.schedule],
        pretrained,
        arch: "tiny_convnet",
        which: "student",
        data: join(folder.data, "train.tsv"),
        testData: join(folder.data, "test.tsv"),
        output: folder.makeOutput("run"),
        resume: null,
        evaluate: false,
        classes: CLASSES,
        cacheFeatures,
        plugins: [TINY_ENCODER],
      };
      const losses: number[] = [];
      const rates: (readonly number[])[] = [];
      const means: number[] = [];
      const { checkpoint } = await runLinearEvaluation(
        options,
        hear({
          step: ({ score }) => losses.push(score.loss),
          epoch({ learningRates, trained }) {
            rates.push(learningRates);
            means.push(trained[0].loss);
          },
        }),
      );
      const expected = await evaluateByHand(gpu, options.data, teacher, cacheFeatures);
      assertEquals(rates.length, 3);
      for (const [epoch, found] of rates.entries()) {
        for (const [i, rate] of found.entries()) {
          assertAlmostEquals(rate, ratesOf(SETTINGS.lr[i])[epoch], 1e-12);
        }
      }
      assertEquals(losses, expected.losses);
      // A dozen of the 20 images, in a whole batch and one that is not.
      const { images } = expected;
      assert(images > BATCH && images < 2 * BATCH, `${images} images`);
      for (const [epoch, mean] of means.entries()) {
        const [a, b] = losses.slice(2 * epoch);
        assertAlmostEquals(mean, (BATCH * a + (images - BATCH) * b) / images, 1e-9);
      }
      using file = await openCheckpointFile(checkpoint!);
      const saved = await readLinearCheckpoint(file, 0);
      assertEquals([saved.classes, saved.epoch], [CLASSES, 4]);
      const optimizer = (file.value as TorchDict).get("optimizer");
      const sgd = readSgdSettings(optimizer, (problem) => new CheckpointError(checkpoint!, problem));
      const { lr, momentum, weightDecay } = SETTINGS;
      const last = rates.at(-1)![lr.findIndex((rate) => rate === saved.chosen)];
      assertEquals(sgd, { lr: last, momentum, weightDecay });
      for (const [i, { values, momentum }] of expected.saved.entries()) {
        assertEquals(saved.probes[i].values, values);
        assertEquals(saved.probes[i].momentum, momentum);
      }
    }));
}
