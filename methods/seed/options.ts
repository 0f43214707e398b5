/** Everything that a distillation can be told, with the names of the original's flags. */
import type { TeacherSsl } from "../../models/encoder.ts";
import type { EncoderPart } from "../../models/encoder_parts.ts";
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
  /** File of the teacher's weights, as PyTorch saved them. */
  distill: string;
  /** What stands before the teacher's keys, where its file holds several encoders; found out where it is left out. */
  weights?: string;
  /** Distil the teacher's pooled feature and not its embedding, so that it needs no head; `dim` is its length then. */
  feature?: boolean;
  /** Checkpoint of an encoder that the student starts from, where it does not `resume`; `null` for fresh weights. */
  studentInit: string | null;
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
  /** Small views of each image, as in the original's main_small-patch.py; 0 for none. */
  smallViews: number;
  /** Height and width of a small view, in pixels. */
  smallSize: number;
  /** Name of the augmentation; by the teacher, as the original chooses it, where it is left out. */
  augmentation?: string;
  /** Name of the loss; SEED's where it is left out. */
  loss?: string;
}

/** What of the teacher's checkpoint is distilled. */
export function teacherPart({ feature = false }: Pick<DistillOptions, "feature">): EncoderPart {
  return feature ? "backbone" : "encoder";
}
