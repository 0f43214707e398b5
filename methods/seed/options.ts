/** Everything that a distillation can be told, with the names of the original's flags. */

import type { ActorModules } from "../../actors/catalog.ts";
import type { Tuning } from "../../kernels/tuning/tuning.ts";
import type { EvaluationResizeChoice } from "../../actors/evaluation_resize.ts";
import type { TeacherSsl } from "../../models/encoder.ts";
import type { EncoderPart } from "../../models/encoder_parts.ts";
import { batchScale, type LearningRateSchedule } from "../../models/optim/schedule.ts";

export type { TeacherSsl };

/** How often checkpoints are written. */
export type SaveInterval = { steps: number } | { seconds: number };

/** A distillation, fully resolved: no field is left to a default. Paths are absolute. */
export interface DistillOptions {
  /** Encoder of the student, a name of the registry such as `resnet18`. */
  studentArch: string;
  /** Encoder of the teacher, a name of the registry such as `resnet50`. */
  teacherArch: string;
  /** How the teacher was trained. */
  teacherSsl: TeacherSsl;
  /** File of the teacher's weights, as PyTorch saved them. */
  distill: string;
  /** What stands before the teacher's keys, where its file holds several encoders; found out where it is left out. */
  weights?: string;
  /** Distil the teacher's pooled feature and not its embedding, so that it needs no head; `dim` is its length then. */
  feature?: boolean;
  /** Folder of `train.tsv`, or what else `resolveDataset` finds images to learn from by. */
  data: string;
  /** Data whose images the kNN classifies by their neighbours among those to learn from; `null` for no evaluation. */
  testData: string | null;
  /** Folder that the run writes to. */
  output: string;
  /** Reader Workers. The same seed gives the same bits for any number. */
  workers: number;
  /**
   * Where decoded images are kept, so that epochs after the first do not decode: `auto`, in memory where all of them take a
   * tenth of it at most; `memory`, as many as half of what is free takes; `off`; else the path of a file for the images to
   * learn from.
   */
  cache: string;
  /** Where the run ends, counted from epoch 0. */
  epochs: number;
  /** Epoch to begin with; a checkpoint that is resumed from says its own. */
  startEpoch: number;
  /** Images in a batch; the last, smaller batch of an epoch is left out. */
  batchSize: number;
  /** Learning rate before scaling: see `models/optim/schedule.ts`. */
  lr: number;
  /** Whether the learning rate is multiplied by `batchSize / 256` after the warm-up. */
  scaleLr: boolean;
  /** Epochs of warm-up. */
  warmupEpochs: number;
  /** Half a cosine down to 0 rather than steps at `schedule`. */
  cos: boolean;
  /** Epochs from which on the learning rate is ten times lower; read without `cos` only. */
  schedule: number[];
  /** Momentum of SGD. */
  momentum: number;
  /** L2 penalty that SGD adds to every gradient. */
  weightDecay: number;
  /** Batches whose gradients make one step, as one batch of all their images would; fewer at the end of an epoch. */
  accumulate: number;
  /** Batches between two steps that tell of themselves: norms by group of layers, time, memory; 0 for none. */
  statsEvery: number;
  /** L2 norm that the gradients of all weights together are clipped to; `null` for no clipping. */
  clipGrad: number | null;
  /** Checkpoint to go on from; `null` to begin anew. */
  resume: string | null;
  /** Go on from `resume` even where it is of another run, of other images, say; off where it is left out. */
  resumeAnyway?: boolean;
  /** Checkpoint of an encoder that the student starts from, where it does not `resume`; `null` for fresh weights. */
  studentInit: string | null;
  /** When checkpoints are written besides the end of each epoch; `null` for no other. */
  saveEvery: SaveInterval | null;
  /** Newest checkpoints that are kept; 0 for all. */
  keep: number;
  /** Numbers in an embedding. */
  dim: number;
  /** Teacher embeddings in the queue (the paper's K); a multiple of `batchSize`. */
  queue: number;
  /** Temperature of the student's softmax (the paper's tau^S). */
  temp: number;
  /** Temperature of the teacher's softmax (the paper's tau^T). */
  distillT: number;
  /** Whether the student's head is Linear, ReLU, Linear rather than one Linear. */
  studentMlp: boolean;
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** Pixels that an image may have; a larger one counts as broken. */
  maxPixels: number;
  /** How images become views in an evaluation; `auto` is decided by the images to learn from. */
  evalResize: EvaluationResizeChoice;
  /** Small views of each image, as in the original's main_small-patch.py; 0 for none. */
  smallViews: number;
  /** Height and width of a small view, in pixels. */
  smallSize: number;
  /** Compute the student's activations again for the backward pass instead of keeping them: less memory, more time. */
  checkpointActivations: boolean;
  /**
   * Keep teacher's and student's maps of pixels in float16 and scale the loss (`torch.amp`'s way): half the memory. Needs
   * an adapter with `shader-f16`.
   */
  amp: boolean;
  /** What was measured of the adapter (`tuneAdapter`); `null` for what is usual of its kind. */
  tuning: Tuning | null;
  /** What becomes of a step whose loss or gradients are not finite: the run stops, or the step is skipped. */
  onNan: "stop" | "skip";
  /** Crashes within ten minutes that are answered by starting actors again; the next one ends the run. */
  maxRestarts: number;
  /** Actors of one's own in the places of built-in ones. */
  actors?: ActorModules;
  /**
   * Images of an epoch, where a reader of one's own makes them and no file tells: `data` is then that reader's business.
   */
  images?: number;
  /** Modules, as text of their URLs, that register encoders, losses and augmentations; every Worker imports them. */
  plugins?: string[];
  /** Name of the augmentation; by the teacher, as the original chooses it, where it is left out. */
  augmentation?: string;
  /** Name of the loss; SEED's where it is left out. */
  loss?: string;
  /** Neighbours that vote in the kNN. */
  knnK: number;
  /** Temperature of the kNN's votes. */
  knnT: number;
  /** Epochs between two evaluations; 0 evaluates before the first epoch and after the last one only. */
  knnEvery: number;
  /**
   * Tell of more than numbers: now and then a snapshot of a step (views, and what teacher and student make of the queue), and
   * after an epoch the nearest neighbours in a probe set.
   */
  insight: boolean;
  /** Steps after which the run ends early, for a quick trial; `null` for no such limit. */
  limitSteps: number | null;
  /** Seed of the student's weights, the order of the images and the augmentations. */
  seed: number;
}

/** What of the teacher's checkpoint is distilled. */
export function teacherPart({ feature = false }: Pick<DistillOptions, "feature">): EncoderPart {
  return feature ? "backbone" : "encoder";
}

/** Whether teacher and student are compared by a probe set: there is none where no file holds the images. */
export function hasProbeSet({ insight, images }: DistillOptions): boolean {
  return insight && images === undefined;
}

/** The schedule that `distillLearningRate` takes; the rate is scaled by the images of a step. */
export function scheduleOf(options: DistillOptions): LearningRateSchedule {
  const { lr, scaleLr, batchSize, accumulate, warmupEpochs, epochs, cos, schedule } = options;
  const scale = scaleLr ? batchScale(batchSize * accumulate) : 1;
  return { lr, scale, warmupEpochs, epochs, cos, milestones: schedule };
}
