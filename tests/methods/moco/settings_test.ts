// A run with every setting away from its default, compared with the same steps by hand.
import {
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import { BatchReader } from "../../../data/batch_reader.ts";
import { openDataset } from "../../../data/open_dataset.ts";
import { packImages, TABLE_STRIDE } from "../../../data/pack.ts";
import { Random } from "../../../data/random.ts";
import { EpochOrder } from "../../../data/sampler.ts";
import { UserError } from "../../../errors.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { ViewMaker } from "../../../kernels/image/view_maker.ts";
import { mocoV1Augmentation, sampleView } from "../../../kernels/image/view_parameters.ts";
import { pretrain } from "../../../methods/runs.ts";
import { readTrainingCheckpoint, transpose } from "../../../methods/encoder_training/checkpoint.ts";
import {
  PRETRAIN_DEFAULTS,
  PRETRAIN_SAMPLE_DEFAULTS,
  samplePretrainOptions,
} from "../../../methods/moco/defaults.ts";
import { MOCO_CHECKPOINT } from "../../../methods/moco/encoders.ts";
import { checkSplits } from "../../../methods/moco/splits.ts";
import type { PretrainOptions } from "../../../methods/moco/options.ts";
import { MocoStep } from "../../../methods/moco/step.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { isCounter } from "../../../models/checkpoint/named_tensor.ts";
import { IMAGENET_NORMALIZATION, type Normalization, normalizationOf } from "../../../models/images.ts";
import { initialize, initializeQueue, type StateValues } from "../../../models/initialize.ts";
import { findEncoder, summarize } from "../../../models/registry.ts";
import { drawTeacher } from "../../actors/drawn_teacher.ts";
import { PLAIN_PIXELS, RunFolder, TINY_ENCODER, withInput } from "../../actors/small_run.ts";
import { withGpu } from "../../kernels/check_op.ts";

/** What came of a pretraining by hand. */
interface HandResult {
  losses: number[];
  query: Map<string, Float32Array>;
  key: Map<string, Float32Array>;
  momentum: Map<string, Float32Array>;
  queue: Float32Array;
  pointer: number;
}

/** What a pretraining starts from. */
interface Beginning {
  weights: StateValues;
  normalization: Normalization;
}

/** Trains as the options say, without actors, at the learning rate of each epoch. */
async function pretrainByHand(
  gpu: Gpu,
  options: PretrainOptions,
  { weights, normalization }: Beginning,
  learningRates: readonly number[],
): Promise<HandResult> {
  const { batchSize: batch, imageSize, seed, mocoDim: dimension, mocoK: queueSize } = options;
  const maker = new ViewMaker(gpu, { views: batch, width: imageSize, height: imageSize });
  using step = await MocoStep.create(gpu, {
    encoder: findEncoder(options.arch),
    head: { kind: "linear", dimension },
    batch,
    imageSize,
    queueSize,
    temperature: 0.3,
    keyMomentum: 0.8,
    momentum: 0.6,
    weightDecay: 0.03,
    splits: 2,
    dropoutSeed: seed,
    normalization,
  });
  const read = (key: string) => weights.get(key)!;
  await step.load(read, read);
  step.queues[0].load(initializeQueue(queueSize, dimension, seed));
  using dataset = await openDataset(`${options.data}/train.tsv`);
  const reader = new BatchReader(dataset);
  const augmentation = mocoV1Augmentation(imageSize);
  const losses: number[] = [];
  for (const [i, learningRate] of learningRates.entries()) {
    const epoch = options.startEpoch + i;
    const order = new EpochOrder(dataset.rowCount, seed, epoch, batch);
    for (let number = 0; number < order.batchCount; number++) {
      const images = packImages(await reader.read(order, number));
      const views = (name: string, ...more: number[]) =>
        maker.augment(
          images,
          Array.from({ length: batch }, (_, place) => {
            const [, width, height, row] = images.table.subarray(place * TABLE_STRIDE);
            const random = new Random(seed, name, epoch, row, ...more);
            return sampleView(random, augmentation, width, height, place);
          }),
        );
      const queries = (await views("augment")).slice(0);
      const { loss } = await step.run({
        queries,
        keys: await views("small", 0),
        learningRate,
        queuePointer: losses.length * batch % queueSize,
        step: options.startEpoch * order.batchCount + losses.length,
      });
      losses.push(loss);
    }
  }
  maker.destroy();
  return {
    losses,
    query: await step.save(),
    key: await step.saveKeyEncoder(),
    momentum: await step.parameters.saveArena("momentum"),
    queue: await step.queues[0].read(),
    pointer: losses.length * batch % queueSize,
  };
}

/** Fails where a setting is the default one, which a run that ignores it would have too. */
function assertNoDefaults(settings: Partial<PretrainOptions>): void {
  for (const [name, value] of Object.entries(settings)) {
    for (
      const defaults of [PRETRAIN_DEFAULTS, PRETRAIN_SAMPLE_DEFAULTS] as unknown as Record<string, unknown>[]
    ) {
      if (name in defaults) assertNotEquals(value, defaults[name], `${name} is at its default`);
    }
  }
}

/** Draws an encoder in the seed's place, that takes other pixels than ImageNet's, and writes its checkpoint. */
async function drawCheckpoint(folder: RunFolder, dimension: number): Promise<Beginning & { path: string }> {
  const drawn = join(folder.path, "drawn.pth.tar");
  const { values: weights } = await drawTeacher(drawn, "tiny_convnet", { kind: "linear", dimension }, 5);
  const path = await withInput(drawn, join(folder.path, "start.pth.tar"), PLAIN_PIXELS);
  return { path, weights, normalization: normalizationOf(PLAIN_PIXELS) };
}

/** Pretrains with each setting away from its default, and compares all that comes of it with the same by hand. */
async function comparePretraining(gpu: Gpu, startsFrom: "random weights" | "a checkpoint"): Promise<void> {
  using folder = new RunFolder(36);
  const settings = {
    arch: "tiny_convnet",
    batchSize: 16,
    epochs: 5,
    startEpoch: 2,
    lr: 0.05,
    scaleLr: true,
    warmupEpochs: 3,
    momentum: 0.6,
    weightDecay: 0.03,
    mocoDim: 20,
    mocoK: 48,
    mocoM: 0.8,
    mocoT: 0.3,
    mlp: false,
    augPlus: false,
    bnSplits: 2,
    imageSize: 24,
    workers: 3,
    seed: 11,
  };
  assertNoDefaults(settings);
  const started = startsFrom === "a checkpoint" ? await drawCheckpoint(folder, settings.mocoDim) : undefined;
  const options = samplePretrainOptions({
    ...settings,
    data: folder.data,
    testData: null,
    output: folder.makeOutput("run"),
    plugins: [TINY_ENCODER],
    insight: false,
    limitSteps: 4,
    pretrained: started?.path,
  }) as PretrainOptions; // complete: with testData, and of an encoder that is imported
  // Two batches an epoch. The last epoch of the warm-up, and the first one behind it: 16 / 256 of the rate.
  const warmup = 0.05 + (0.05 / 16 - 0.05) / 3 * 2;
  const rates = [warmup, 0.05 / 16 * 0.5 * (1 + Math.cos(Math.PI * 3 / 5))];
  const { state } = summarize(findEncoder("tiny_convnet"), { kind: "linear", dimension: 20 }, 24);
  const fresh = { weights: initialize(state, 11), normalization: IMAGENET_NORMALIZATION };
  const expected = await pretrainByHand(gpu, options, started ?? fresh, rates);

  const losses: number[] = [];
  const learningRates: number[] = [];
  const starts: string[] = [];
  const run = pretrain(options);
  for await (const event of run) {
    if (event.type === "note" && event.text.includes("starts from")) starts.push(event.text);
    if (event.type !== "step") continue;
    losses.push(event.loss);
    learningRates.push(event.lr);
  }
  const { checkpoint, knn } = await run.result;
  assertEquals(
    starts,
    started === undefined ? [] : [
      `the query encoder starts from ${started.path} (a moco checkpoint), with its head; its images are normalised by ` +
      "mean 0 0 0, std 1 1 1",
    ],
  );
  assertEquals(losses, expected.losses);
  assertEquals(knn, null);
  for (const [i, rate] of learningRates.entries()) {
    assertAlmostEquals(rate, rates[Math.floor(i / 2)], 1e-12, `learning rate of step ${i}`);
  }
  assertMatch(checkpoint, /[\\/]checkpoint_0003\.pth\.tar$/);
  using file = await openCheckpointFile(checkpoint);
  const saved = readTrainingCheckpoint(MOCO_CHECKPOINT, file);
  assertEquals([saved.epoch, saved.arch], [4, "tiny_convnet"]);
  const encoders = { encoder_q: [saved.encoder, expected.query], encoder_k: [saved.beside, expected.key] };
  for (const [name, [found, wanted]] of Object.entries(encoders)) {
    assertEquals(
      [...found.keys()].filter((key) => !isCounter(key)),
      [...wanted.keys()].toSorted((a, b) => {
        const keys = [...found.keys()];
        return keys.indexOf(a) - keys.indexOf(b);
      }),
    );
    for (const [key, values] of wanted) {
      assertEquals(
        await (found as typeof saved.encoder).get(key)!.read(),
        values as Float32Array<ArrayBuffer>,
        `${name}.${key}`,
      );
    }
  }
  for (const [key, values] of expected.momentum) {
    assertEquals(
      await saved.momentum.get(key)!.read(),
      values as Float32Array<ArrayBuffer>,
      `momentum of ${key}`,
    );
  }
  const keys = transpose(await saved.queue!.read() as Float32Array, 20, 48);
  assertEquals(keys, expected.queue);
  assertEquals([...await saved.queuePointer!.read()], [expected.pointer]);
}

for (const startsFrom of ["random weights", "a checkpoint"] as const) {
  Deno.test(
    `a pretraining from ${startsFrom} does with each of its settings what is done by hand: two views, queue, momentum, groups`,
    () => withGpu((gpu) => comparePretraining(gpu, startsFrom)),
  );
}

const SPLIT = { syncBn: false, arch: "resnet18", imageSize: 32, amp: false };

Deno.test("--bn-splits are refused with --sync-bn, which normalises all ranks' images together", () => {
  checkSplits({ ...SPLIT, bnSplits: 1, batchSize: 32, syncBn: true });
  assertThrows(
    () => checkSplits({ ...SPLIT, bnSplits: 2, batchSize: 32, syncBn: true }),
    UserError,
    "--sync-bn normalises the images of all ranks together, and --bn-splits 2 those of a rank in groups; use one of the two",
  );
});

Deno.test("--bn-splits that do not split a batch are refused, with those that do", () => {
  for (const [bnSplits, batchSize] of [[1, 4], [2, 16], [8, 64]]) {
    checkSplits({ ...SPLIT, bnSplits, batchSize });
  }
  for (const [bnSplits, fits] of [[3, "1, 2, 4"], [8, "1, 2, 4"]] as const) {
    const { message } = assertThrows(
      () => checkSplits({ ...SPLIT, bnSplits, batchSize: 32 }),
      UserError,
    );
    assertEquals(
      message,
      `--bn-splits ${bnSplits} does not split --batch-size 32 into equal groups of at least 8 images; use --bn-splits ${fits}`,
    );
  }
});

Deno.test("--bn-splits of ranks split the share that each has of a batch, if it can be shared", async () => {
  checkSplits({ ...SPLIT, bnSplits: 4, batchSize: 64 }, { rank: 1, size: 2 });
  const options = { data: "images.tsv", testData: null, output: "out", arch: "resnet18", imageSize: 32 };
  for (
    const [size, batchSize, bnSplits, message] of [
      [
        ...[2, 64, 8] as const,
        "--bn-splits 8 does not split a rank's 32 images of --batch-size 64 into equal groups of at least 8 images; use " +
        "--bn-splits 1, 2, 4",
      ],
      [
        ...[4, 250, 2] as const,
        "--batch-size 250 cannot be shared by 4 ranks: expected a multiple of 4, such as 248 or 252",
      ],
    ] as const
  ) {
    const ranks = { rank: 1, size, exchange: {} };
    const error = await assertRejects(
      () => pretrain({ ...options, batchSize, bnSplits }, { ranks }).result,
      UserError,
    );
    assertEquals(error.message, message);
  }
});

Deno.test("--bn-splits whose groups a device cannot bind are refused too", () => {
  const small = { ...SPLIT, arch: "mobilenetv3_small", batchSize: 72 };
  const large = { ...SPLIT, arch: "mobilenetv3_small", imageSize: 56, batchSize: 16, amp: true };
  checkSplits({ ...small, batchSize: 64, bnSplits: 8 });
  checkSplits({ ...large, batchSize: 32, bnSplits: 2 });
  for (
    const [options, message] of [
      [
        { ...small, bnSplits: 8 },
        "--bn-splits 8 does not split --batch-size 72 into equal groups of at least 8 images, for mobilenetv3_small a " +
        "multiple of 2; use --bn-splits 1, 2, 3, 4, 6, 9",
      ],
      [
        { ...large, bnSplits: 2 },
        "--bn-splits 2 does not split --batch-size 16 into equal groups of at least 8 images, for mobilenetv3_small a " +
        "multiple of 16; use --bn-splits 1",
      ],
    ] as const
  ) {
    assertEquals(assertThrows(() => checkSplits(options), UserError).message, message);
  }
});
