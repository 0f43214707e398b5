/** How the original SEED names its checkpoints and what is in them (main.py). */
import { type CheckpointLayout, numberedCheckpoint } from "../encoder_training/checkpoint.ts";

/** The student, and the frozen teacher beside it. */
export const DISTILL_CHECKPOINT: CheckpointLayout = {
  trained: "module.student.",
  beside: "module.teacher.",
  run: "distillation run",
};

/** The names that the original puts into its checkpoints' file names. */
export interface CheckpointNames {
  /** How the teacher was trained: `moco`, `simclr` or `swav`. */
  readonly teacherSsl: string;
  /** Epochs of the whole run. */
  readonly epochs: number;
  /** Name of the student's encoder. */
  readonly studentArch: string;
  /** Name of the teacher's encoder. */
  readonly teacherArch: string;
}

/**
 * Name of the checkpoint after an epoch, counted from 0: `checkpoint_0007.pth.tar`; with `names` the original's,
 * `Teacher_moco_T-Epoch_200_Student_resnet18_distill-Epoch_resnet50-checkpoint_0007.pth.tar`.
 */
export function checkpointFileName(epoch: number, names?: CheckpointNames): string {
  const number = numberedCheckpoint(epoch);
  if (names === undefined) return number;
  const { teacherSsl, epochs, studentArch, teacherArch } = names;
  return `Teacher_${teacherSsl}_T-Epoch_${epochs}_Student_${studentArch}_distill-Epoch_${teacherArch}-${number}`;
}
