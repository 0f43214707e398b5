/** Everything that a linear evaluation can be told, with the names of the original's flags (main_lincls.py). */
import { DEFAULT_WORKERS } from "../../actors/default_workers.ts";
import { DEFAULT_MAX_PIXELS } from "../../data/decode.ts";
import type { Tuning } from "../../kernels/tuning/tuning.ts";
import { type Encoder, type EncoderRole, LINEAR_RATES, SSL_TITLES } from "../../models/encoder.ts";
import type { TrainingOptions } from "../training_options.ts";

export type { EncoderRole };

/** A linear evaluation, fully resolved: no field is left to a default. Paths are absolute. */
export interface LinearOptions extends TrainingOptions {
  /**
   * Checkpoint of the frozen encoder; `null` for the encoder in the checkpoint of `resume`, or random weights of `arch`, drawn
   * from `seed`, where that names no file.
   */
  pretrained: string | null;
  /** Name of the encoder in the registry. */
  arch: string;
  /** Which encoder of a distillation's checkpoint. */
  which: EncoderRole;
  /** Prefix of the encoder's keys, if the checkpoint holds several encoders; detected if omitted. */
  weights?: string;
  /** Test images. */
  testData: string;
  /** Images per batch; the last batch of an epoch may be smaller. */
  batchSize: number;
  /** Learning rates before scaling; one classifier is trained with each, in parallel. With `evaluate`, by default all of `resume`. */
  lr: number[];
  /**
   * Checkpoint of a linear evaluation to resume from; `auto` for the newest one in `output`, if there is any; `null` to
   * start a new one.
   */
  resume: string | null;
  /** Only evaluate the classifier of `resume` on the test images. */
  evaluate: boolean;
  /** Embed the images once, without augmentation, and train on these features in every epoch. */
  cacheFeatures: boolean;
  /** Keep activations and the encoder's weights in float16; the classifiers stay in float32. */
  amp: boolean;
  /** Share of the images of each class that is learnt from, chosen by `seed`, and one image at least; 1 for all images. */
  labelFraction: number;
  /** Number of classes; `null` to take it from the labels. */
  classes: number | null;
  /** Kernel tuning of the adapter, from `tuneAdapter`. Default: the defaults of its kind. */
  tuning?: Tuning | null;
}

/** Options whose default is the same on every machine. */
export type LinearDefaults = Omit<
  LinearOptions,
  | "pretrained"
  | "arch"
  | "which"
  | "weights"
  | "data"
  | "testData"
  | "output"
  | "resume"
  | "resumeAnyway"
  | "evaluate"
  | "classes"
  | "actors"
  | "plugins"
  | "tuning"
>;

/** Defaults for your own images: those of the original, which are MoCo's for ImageNet. */
export const LINEAR_DEFAULTS: Readonly<LinearDefaults> = {
  workers: DEFAULT_WORKERS,
  cache: "auto",
  epochs: 100,
  startEpoch: 0,
  batchSize: 256,
  lr: [30],
  scaleLr: true,
  warmupEpochs: 5,
  schedule: [60, 80],
  momentum: 0.9,
  weightDecay: 0,
  cacheFeatures: false,
  amp: false,
  imageSize: 224,
  maxPixels: DEFAULT_MAX_PIXELS,
  fastDecode: false,
  evalResize: "auto",
  labelFraction: 1,
  seed: 0,
};

/** Defaults for the bundled images: a run takes less than a minute, and tries several learning rates. */
export const LINEAR_SAMPLE_DEFAULTS: Readonly<LinearDefaults> = {
  ...LINEAR_DEFAULTS,
  epochs: 30,
  schedule: [20, 25],
  lr: [0.01, 0.03, 0.1, 0.3],
  cacheFeatures: true,
  imageSize: 32,
};

/** Says which learning rates to try where the default, MoCo's, is not that of the encoder's authors; `undefined` where it is. */
export function adviseRates(
  { ssl }: Pick<Encoder, "ssl">,
  { lr, pretrained }: Pick<LinearOptions, "lr" | "pretrained">,
): string | undefined {
  const rates = LINEAR_RATES[ssl];
  if (pretrained === null || rates === undefined || lr.join() !== LINEAR_DEFAULTS.lr.join()) return undefined;
  return `learning rate ${lr} is MoCo's; ${
    SSL_TITLES[ssl]
  }'s authors take ${rates.authors}. Try several side by side: ` +
    `--lr ${rates.tried.join(",")}`;
}

/** Says what is wrong where a learning rate occurs twice: a checkpoint tells its classifiers apart by their rates. */
export function describeRepeatedRate(lr: readonly number[]): string | undefined {
  if (new Set(lr).size === lr.length) return undefined;
  return `--lr ${lr.join(",")} contains a learning rate twice; give each once`;
}
