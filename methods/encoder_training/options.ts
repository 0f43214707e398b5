/** What every method that trains an encoder can be told. */
import type { ActorModules } from "../../actors/catalog.ts";
import type { EvaluationResizeChoice } from "../../actors/evaluation_resize.ts";
import type { Tuning } from "../../kernels/tuning/tuning.ts";
import { UserError } from "../../errors.ts";
import { batchScale, type LearningRateSchedule } from "../../models/optim/schedule.ts";
import type { StepOptions } from "./step_options.ts";

/** How often checkpoints are written. */
export type SaveInterval = { steps: number } | { seconds: number };

/** A training, fully resolved: no field is left to a default. Paths are absolute. */
export interface EncoderTrainingOptions extends StepOptions {
  /** Training images: a folder with `train.tsv`, or any path that `resolveDataset` accepts. */
  data: string;
  /** Test images, which kNN classifies by their neighbours among the training images; `null` for no evaluation. */
  testData: string | null;
  /** Folder that the run writes to. */
  output: string;
  /** Reader Workers. The same seed gives the same bits for any number. */
  workers: number;
  /**
   * Where decoded images are kept, so that epochs after the first do not decode. `auto`: in memory, if all of them take at
   * most a tenth of it. `memory`: as many as fit in half of the free memory. `off`: nowhere. Else the path of a file for
   * the training images.
   */
  cache: string;
  /** Number of epochs, counted from epoch 0. */
  epochs: number;
  /** First epoch; a resumed run takes it from the checkpoint. */
  startEpoch: number;
  /** Images per batch; an incomplete last batch of an epoch is dropped. */
  batchSize: number;
  /** Whether the learning rate is multiplied by `batchSize / 256` after the warm-up. */
  scaleLr: boolean;
  /** Epochs of warm-up. */
  warmupEpochs: number;
  /** Decay the learning rate to 0 along half a cosine, instead of in steps at `schedule`. */
  cos: boolean;
  /** Epochs at which the learning rate drops to a tenth; ignored with `cos`. */
  schedule: number[];
  /** Checkpoint to resume from; `auto` for the newest one in `output`, if there is any; `null` to start a new run. */
  resume: string | null;
  /** Resume even if the checkpoint is from a run with other images or settings. Default: false. */
  resumeAnyway?: boolean;
  /** How often checkpoints are written, besides at the end of each epoch; `null` for no others. */
  saveEvery: SaveInterval | null;
  /** Number of newest checkpoints to keep; 0 for all. */
  keep: number;
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** Maximum pixels of an image; a larger one counts as broken. */
  maxPixels: number;
  /** How images are resized for evaluation; `auto` decides by the training images. */
  evalResize: EvaluationResizeChoice;
  /** Recompute the encoder's activations in the backward pass instead of storing them: less memory, more time. */
  checkpointActivations: boolean;
  /** Kernel tuning of the adapter, from `tuneAdapter`; `null` for the defaults of its kind. */
  tuning: Tuning | null;
  /** Maximum number of crashes within ten minutes that lead to a restart; the next one ends the run. */
  maxRestarts: number;
  /** Custom actors that replace built-in ones. */
  actors?: ActorModules;
  /** Images per epoch, if a custom reader generates them; only that reader uses `data` then. */
  images?: number;
  /** URLs of modules that register encoders, losses and augmentations; every Worker imports them. */
  plugins?: string[];
  /** Number of neighbours that vote in kNN. */
  knnK: number;
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
 * Fails where the number of images is given, and no reader that makes them.
 *
 * @throws {UserError}
 */
export function requireImagesReader(
  input: Pick<EncoderTrainingOptions, "data"> & Partial<EncoderTrainingOptions>,
): void {
  if (input.images !== undefined && input.actors?.tsv_reader === undefined) {
    throw new UserError(
      "images: expected a reader that makes them beside it, actors.tsv_reader, found none; name its module, or leave images " +
        `out to read those of ${input.data}`,
    );
  }
}

/** Whether encoders are compared by a probe set: there is none where no file holds the images. */
export function hasProbeSet(
  { insight, images }: Pick<EncoderTrainingOptions, "insight" | "images">,
): boolean {
  return insight && images === undefined;
}

/** The schedule that `distillLearningRate` takes; the rate is scaled by the images of a step. */
export function scheduleOf(options: EncoderTrainingOptions): LearningRateSchedule {
  const { lr, scaleLr, batchSize, accumulate, warmupEpochs, epochs, cos, schedule } = options;
  const scale = scaleLr ? batchScale(batchSize * accumulate) : 1;
  return { lr, scale, warmupEpochs, epochs, cos, milestones: schedule };
}
