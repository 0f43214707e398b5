/** What every method that trains an encoder can be told. */
import type { DecodeOptions } from "../../data/decode.ts";
import type { GradientCompression } from "../../actors/ranks/ranks.ts";
import type { Tuning } from "../../kernels/tuning/tuning.ts";
import { UserError } from "../../errors.ts";
import { batchScale, type LearningRateSchedule } from "../../models/optim/schedule.ts";
import { checkOption } from "../flag_table.ts";
import type { TrainingOptions } from "../training_options.ts";
import { imagesOfStep, learningRateOfStep, type StepOptions } from "./step_options.ts";

/** Options with what they mean on this adapter. */
export type OnAdapter<Options> = Options & Pick<DecodeOptions, "leastSide">;

/** How often checkpoints are written. */
export type SaveInterval = { steps: number } | { seconds: number };

/** A training, fully resolved: no field is left to a default. Paths are absolute. */
export interface EncoderTrainingOptions extends TrainingOptions, StepOptions {
  /**
   * Test images, which kNN classifies by their neighbours among the training images. `held-out` classifies a tenth of the
   * labelled training images by the others; all are trained on, without labels. `null` for no kNN.
   */
  testData: string | null;
  /** Images per batch; an incomplete last batch of an epoch is dropped. */
  batchSize: number;
  /** Decay the learning rate to 0 along half a cosine, instead of in steps at `schedule`. */
  cos: boolean;
  /**
   * Change the learning rate with every step, from 0 in the warm-up and along a cosine that begins after it, as MoCo-v3 and DINO do.
   * Otherwise with every epoch, from `lr` in the warm-up, as SEED and MoCo do.
   */
  lrPerStep: boolean;
  /** Checkpoint to resume from; `auto` for the newest one in `output`, if there is any; `null` to start a new run. */
  resume: string | null;
  /** How often checkpoints are written, besides at the end of each epoch; `null` for no others. */
  saveEvery: SaveInterval | null;
  /** Number of newest checkpoints to keep; 0 for all. */
  keep: number;
  /** Take batch norm's statistics over the images of all ranks; over a rank's own otherwise. */
  syncBn: boolean;
  /** What gradients become on their way between ranks: `f16` sends half of the bytes. */
  compress: GradientCompression;
  /** Recompute the encoder's activations in the backward pass instead of storing them: less memory, more time. */
  checkpointActivations: boolean;
  /** Kernel tuning of the adapter, from `tuneAdapter`; `null` for the defaults of its kind. */
  tuning: Tuning | null;
  /** Maximum number of crashes within ten minutes, or of the same one without progress, that lead to a restart; the next one ends the run. */
  maxRestarts: number;
  /** Images per epoch, if a custom reader generates them; only that reader uses `data` then. */
  images?: number;
  /** Number of neighbours that vote in kNN. */
  knnK: number;
  /** Number of training images that vote in kNN at most, and of images that are classified; of more, a sample by `seed`. */
  knnImages: number;
  /** Temperature of the votes in kNN. */
  knnT: number;
  /** Epochs between evaluations; 0 evaluates only before the first epoch and after the last. */
  knnEvery: number;
  /**
   * Also emit snapshots of steps (views, and their similarities to the queue), and after each epoch the nearest
   * neighbours in a probe set.
   */
  insight: boolean;
  /** Steps after which the run ends early, for a quick trial; `null` for no limit. */
  limitSteps: number | null;
}

/**
 * Fails where the number of images is given and is none, or there is no reader that makes them.
 *
 * @throws {UserError}
 */
export function requireImagesReader(
  input: Pick<EncoderTrainingOptions, "data"> & Partial<EncoderTrainingOptions>,
): void {
  if (input.images === undefined) return;
  checkOption("images", { kind: "integer", min: 1, group: "", help: "" }, input.images);
  if (input.actors?.tsv_reader === undefined) {
    throw new UserError(
      "images: expected a reader that makes them beside it, actors.tsv_reader, found none; name its module, or leave images " +
        `out to read those of ${input.data}`,
    );
  }
}

/**
 * Fails where a program's `saveEvery` is not what it should be.
 *
 * @throws {UserError}
 */
export function requireSaveInterval(saveEvery: EncoderTrainingOptions["saveEvery"] | undefined): void {
  if (saveEvery === null || saveEvery === undefined) return;
  const { steps, seconds } = saveEvery as { steps?: unknown; seconds?: unknown };
  if (Number.isSafeInteger(steps) && steps as number > 0) return;
  if (Number.isFinite(seconds) && seconds as number > 0) return;
  throw new UserError(
    "saveEvery: expected { steps: 500 }, { seconds: 90 } or the like, with a number above 0, found " +
      Deno.inspect(saveEvery),
  );
}

/** Whether encoders are compared by a probe set: there is none where no file holds the images. */
export function hasProbeSet(
  { insight, images }: Pick<EncoderTrainingOptions, "insight" | "images">,
): boolean {
  return insight && images === undefined;
}

/** Whether the encoder is evaluated after an epoch, from 0: by kNN, or by a probe set. */
export function isEvaluatedAfter(epoch: number, options: EncoderTrainingOptions): boolean {
  const { knnEvery, testData } = options;
  return (testData !== null && knnEvery > 0 && (epoch + 1) % knnEvery === 0) || hasProbeSet(options);
}

/** The schedule that `learningRateAt` takes; the rate is scaled by the images of a step. */
export function scheduleOf(options: EncoderTrainingOptions, batchesPerEpoch: number): LearningRateSchedule {
  const { lr, scaleLr, warmupEpochs, epochs, cos, schedule } = options;
  const scale = scaleLr ? batchScale(imagesOfStep(options, batchesPerEpoch)) : 1;
  return { lr, scale, warmupEpochs, epochs, cos, milestones: schedule, isPerStep: options.lrPerStep };
}

/** {@linkcode learningRateOfStep} by a run's options. */
export function learningRateOf(
  options: EncoderTrainingOptions,
  position: { epoch: number; batch: number },
  batchesPerEpoch: number,
): number {
  const schedule = scheduleOf(options, batchesPerEpoch);
  return learningRateOfStep(position, batchesPerEpoch, options.accumulate, schedule);
}
