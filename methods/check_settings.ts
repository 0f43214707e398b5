/** Checks the settings of a run that trains against its data, before it starts: what is allowed, but seldom meant. */
import { counted } from "../data/printable.ts";
import { imagesOfStep } from "./encoder_training/step_options.ts";

/** What is checked. Learning rates and epochs are those of `models/optim/schedule.ts`. */
export interface CheckedSettings {
  /** Images in a batch. */
  batchSize: number;
  /** Batches whose gradients make one step; 1 where it is left out. */
  accumulate?: number;
  /** Epochs of the whole run. */
  epochs: number;
  /** Learning rates before scaling. */
  learningRates: readonly number[];
  /** What they are multiplied by after the warm-up; 1 for nothing. */
  scale: number;
  /** Epochs of warm-up. */
  warmupEpochs: number;
  /** Whether the rate falls after the warm-up, and not before. */
  fallsAfterWarmup?: boolean;
  /** Whether the rate changes with every step: then the warm-up begins at 0. */
  lrPerStep?: boolean;
  /** Keys in the queue; left out where the method has none. */
  queue?: number;
  /** The flag of the queue; `--queue` where it is left out. */
  queueFlag?: string;
  /** Optimizer; SGD where it is left out. */
  optimizer?: string;
  /** Its weight decay. */
  weightDecay?: number;
  /** Patches of a view, where the encoder has smaller ones with another stem. */
  patches?: number;
  /** Steps that a quick trial is limited to; `null` or left out for no limit. */
  limitSteps?: number | null;
}

/** What the data gives. */
export interface DataCounts {
  /** Images to learn from. */
  images: number;
  /** Batches of an epoch. */
  batchesPerEpoch: number;
}

/** Updates of the weights below which a run is said to be short: the demo has 750, the paper's runs a million. */
const FEW_STEPS = 100;
/** Share of the images that a queue is advised to hold at most: the paper's 65,536 keys are 1/20 of ImageNet's images. */
const QUEUE_SHARE = 1 / 4;

/**
 * Returns a note for each setting that does not suit the data, with the flag to change, and one for the learning rate where
 * it is scaled; none where there is nothing to say. Settings that cannot work at all are errors elsewhere: a batch larger
 * than the data, a queue smaller than a batch.
 *
 * @example
 * ```ts
 * import { checkSettings } from "./check_settings.ts";
 *
 * const settings = { batchSize: 32, epochs: 200, learningRates: [0.1], scale: 1, warmupEpochs: 0, queue: 1024 };
 * checkSettings(settings, { images: 200, batchesPerEpoch: 6 });
 * // ["the queue of 1024 keys is larger than the 200 images: ... Use --queue 32, ..."]
 * ```
 */
export function checkSettings(settings: CheckedSettings, counts: DataCounts): string[] {
  return [noteOptimizer, notePatches, noteQueue, noteWarmup, noteAccumulation, noteSteps, noteLearningRate]
    .map((check) => check(settings, counts))
    .filter((note) => note !== undefined);
}

/** Which one an encoder has is decided where nobody names it, and with it the learning rate. */
function noteOptimizer({ optimizer, learningRates, weightDecay }: CheckedSettings): string | undefined {
  if (optimizer !== "adamw") return undefined;
  return `AdamW with learning rate ${learningRates.join(", ")} and weight decay ${weightDecay}; ` +
    "--optimizer, --lr and --weight-decay set others";
}

/** Patches of a view below which they are said to be few: as many as of 64 pixels. */
const FEW_PATCHES = 16;

function notePatches({ patches }: CheckedSettings): string | undefined {
  if (patches === undefined || patches >= FEW_PATCHES) return undefined;
  return `${counted(patches, "patch", "patches")} of a view ${
    patches === 1 ? "is" : "are"
  } few: --stem cifar has patches of ` +
    "4 pixels, and takes longer";
}

/** A key of the same image, of an epoch before, is a negative to the loss, and nearly the same as the positive. */
function noteQueue(
  { queue, queueFlag = "--queue", batchSize, accumulate = 1 }: CheckedSettings,
  { images }: DataCounts,
): string | undefined {
  if (queue === undefined || queue <= images) return undefined;
  const least = batchSize * accumulate;
  const most = Math.floor(images * QUEUE_SHARE / batchSize) * batchSize;
  const times = Number((queue / images).toPrecision(2));
  return `the queue of ${queue} keys is larger than the ${images} images: it holds about ${times} keys of each, so an ` +
    `image is compared with itself, and the loss may rise. Use ${queueFlag} ${Math.max(least, most)}` +
    (most >= least ? ", at most a quarter of the images" : " and a smaller --batch-size, or more images");
}

function noteWarmup(
  { warmupEpochs, epochs, scale, fallsAfterWarmup = false, lrPerStep = false }: CheckedSettings,
): string | undefined {
  if (warmupEpochs < epochs) return undefined;
  const rises = scale !== 1 || (lrPerStep && warmupEpochs > 0);
  if (!rises && !fallsAfterWarmup) return undefined; // then a warm-up changes nothing
  return `the warm-up of ${
    counted(warmupEpochs, "epoch")
  } takes the whole run of ${epochs}: the learning rate never ${
    rises ? "reaches its scaled value" : "begins to fall"
  }. Use --warmup-epochs ${Math.floor(epochs / 10)}, or more --epochs`;
}

/** A step ends with its epoch. */
function noteAccumulation(
  { accumulate = 1 }: CheckedSettings,
  { batchesPerEpoch }: DataCounts,
): string | undefined {
  if (accumulate <= batchesPerEpoch) return undefined;
  return `--accumulate ${accumulate} is more than the ${
    counted(batchesPerEpoch, "batch", "batches")
  } of an epoch, which make one step: it does what --accumulate ${batchesPerEpoch} does`;
}

function noteSteps(
  { epochs, accumulate = 1, limitSteps = null }: CheckedSettings,
  { batchesPerEpoch }: DataCounts,
): string | undefined {
  const steps = Math.ceil(batchesPerEpoch / accumulate) * epochs;
  if (limitSteps !== null || steps >= FEW_STEPS) return undefined;
  const wanted = Math.ceil(epochs * FEW_STEPS / steps);
  return `${counted(steps, "step")} in the whole run (${counted(epochs, "epoch")}) ${
    steps === 1 ? "is" : "are"
  } few to learn from. ` +
    `Use --epochs ${wanted} or more, or a smaller --batch-size`;
}

function noteLearningRate(
  settings: CheckedSettings,
  { batchesPerEpoch }: DataCounts,
): string | undefined {
  const { learningRates, scale, warmupEpochs } = settings;
  if (scale === 1) return undefined;
  const after = warmupEpochs === 0 ? "" : ` after ${counted(warmupEpochs, "epoch")} of warm-up`;
  const rates = learningRates.map((rate) => `${rate} becomes ${Number((rate * scale).toPrecision(4))}`);
  return `learning rate ${rates.join(", ")}${after}: --scale-lr multiplies it by ${
    imagesOfStep(settings, batchesPerEpoch)
  } / 256, ` +
    "--no-scale-lr does not";
}
