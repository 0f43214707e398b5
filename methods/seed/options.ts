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

/** Options of a distillation, fully resolved: no field is left to a default. Paths are absolute. */
export interface DistillOptions {
  /** Encoder of the student, a name of the registry such as `resnet18`. */
  studentArch: string;
  /** Encoder of the teacher, a name of the registry such as `resnet50`. */
  teacherArch: string;
  /** How the teacher was trained. */
  teacherSsl: TeacherSsl;
  /** Checkpoint of the teacher, as PyTorch saved it. */
  distill: string;
  /** Prefix of the teacher's keys, if its file holds several encoders; detected if omitted. */
  weights?: string;
  /**
   * Distil the teacher's pooled feature instead of its embedding, so that no head is needed; `dim` is then its
   * length.
   */
  feature?: boolean;
  /** Training images: a folder with `train.tsv`, or any path that `resolveDataset` accepts. */
  data: string;
  /** Test images, which kNN classifies by their neighbours among the training images; `null` for no evaluation. */
  testData: string | null;
  /** Folder that the run writes to. */
  output: string;
  /** Reader Workers. The same seed gives the same bits for any number. */
  workers: number;
  /** Number of epochs, counted from epoch 0. */
  epochs: number;
  /** First epoch; a resumed run takes it from the checkpoint. */
  startEpoch: number;
  /** Images per batch; an incomplete last batch of an epoch is dropped. */
  batchSize: number;
  /** Learning rate before scaling: see `models/optim/schedule.ts`. */
  lr: number;
  /** Whether the learning rate is multiplied by `batchSize / 256` after the warm-up. */
  scaleLr: boolean;
  /** Epochs of warm-up. */
  warmupEpochs: number;
  /** Decay the learning rate to 0 along half a cosine, instead of in steps at `schedule`. */
  cos: boolean;
  /** Epochs at which the learning rate drops to a tenth; ignored with `cos`. */
  schedule: number[];
  /** Momentum of SGD. */
  momentum: number;
  /** L2 penalty that SGD adds to every gradient. */
  weightDecay: number;
  /** Batches whose gradients are accumulated for one step; fewer at the end of an epoch. */
  accumulate: number;
  /** Batches between reports of layer norms, time and memory; 0 for none. */
  statsEvery: number;
  /** Maximum L2 norm of all gradients together, which are clipped to it; `null` for no clipping. */
  clipGrad: number | null;
  /** Checkpoint to resume from; `null` to start a new run. */
  resume: string | null;
  /** Resume even if the checkpoint is from a run with other images or settings. Default: false. */
  resumeAnyway?: boolean;
  /** Checkpoint to initialise the student from, unless the run resumes; `null` for random weights. */
  studentInit: string | null;
  /** How often checkpoints are written, besides at the end of each epoch; `null` for no others. */
  saveEvery: SaveInterval | null;
  /** Number of newest checkpoints to keep; 0 for all. */
  keep: number;
  /** Length of an embedding. */
  dim: number;
  /** Teacher embeddings in the queue (the paper's K); a multiple of `batchSize`. */
  queue: number;
  /** Temperature of the student's softmax (the paper's tau^S). */
  temp: number;
  /** Temperature of the teacher's softmax (the paper's tau^T). */
  distillT: number;
  /** Whether the student's head is Linear, ReLU, Linear instead of one Linear. */
  studentMlp: boolean;
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** Maximum pixels of an image; a larger one counts as broken. */
  maxPixels: number;
  /** How images are resized for evaluation; `auto` decides by the training images. */
  evalResize: EvaluationResizeChoice;
  /** Small views per image, as in the original's main_small-patch.py; 0 for none. */
  smallViews: number;
  /** Height and width of a small view, in pixels. */
  smallSize: number;
  /** Recompute the student's activations in the backward pass instead of storing them: less memory, more time. */
  checkpointActivations: boolean;
  /**
   * Keep feature maps of teacher and student in float16 and scale the loss, as `torch.amp` does: half the memory.
   * Needs an adapter with `shader-f16`.
   */
  amp: boolean;
  /** Kernel tuning of the adapter, from `tuneAdapter`; `null` for the defaults of its kind. */
  tuning: Tuning | null;
  /** Whether a step with a non-finite loss or gradient stops the run or is skipped. */
  onNan: "stop" | "skip";
  /** Maximum number of crashes within ten minutes that lead to a restart; the next one ends the run. */
  maxRestarts: number;
  /** Custom actors that replace built-in ones. */
  actors?: ActorModules;
  /** Images per epoch, if a custom reader generates them; only that reader uses `data` then. */
  images?: number;
  /** URLs of modules that register encoders, losses and augmentations; every Worker imports them. */
  plugins?: string[];
  /** Name of the augmentation; if omitted, the teacher's, as in the original. */
  augmentation?: string;
  /** Name of the loss. Default: SEED's. */
  loss?: string;
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
