/** Everything that a distillation can be told, with the names of the original's flags. */
import type { TeacherSsl } from "../../models/encoder.ts";
import type { EncoderPart } from "../../models/encoder_parts.ts";
import type { TeacherFeature } from "../../models/teacher.ts";
import type { EncoderTrainingOptions } from "../encoder_training/options.ts";

export type { TeacherSsl };

/** A distillation, fully resolved: no field is left to a default. Paths are absolute. */
export interface DistillOptions extends EncoderTrainingOptions {
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
   * Distil a feature of the teacher instead of its embedding, so that no head is needed; `dim` is then its length.
   * `pooled` is its usual one. `teacherArch` names the encoder that gives it.
   */
  feature?: TeacherFeature;
  /** Checkpoint to initialise the student from, unless the run resumes; `null` for random weights. */
  studentInit: string | null;
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
  /** Small views per image, as in the original's main_small-patch.py; 0 for none. */
  smallViews: number;
  /** Height and width of a small view, in pixels. */
  smallSize: number;
  /**
   * Height and width of the teacher's views, in pixels, if not those of the student's: both see the same views, made at the
   * larger size and shrunk to the smaller.
   */
  teacherSize?: number;
  /** Alpha of mixup, whose weight is drawn from Beta(alpha, alpha) for each batch; 0 for none. */
  mixup: number;
  /** Name of the augmentation; if omitted, the teacher's, as in the original. */
  augmentation?: string;
  /** Name of the loss. Default: SEED's. */
  loss?: string;
  /** Temperature of the second term of the loss `tokens`. */
  tokenT: number;
  /** Weight of that term. */
  tokenWeight: number;
}

/** What of the teacher's checkpoint is distilled. */
export function teacherPart({ feature }: Pick<DistillOptions, "feature">): EncoderPart {
  return feature === undefined ? "encoder" : "backbone";
}
