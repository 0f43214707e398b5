/** A distillation, from its options to its result. */
import type { Accuracy } from "../../actors/messages.ts";
import type { Emit } from "../../actors/events.ts";
import { NOTHING_SO_FAR, type RunSoFar } from "../encoder_training/prepare.ts";
import { type EncoderTrainingResult, trainEncoder } from "../encoder_training/run.ts";
import type { Wanted } from "../watched_actors.ts";
import { DISTILLATION } from "./encoder_method.ts";
import type { DistillEvent } from "./events.ts";
import type { DistillOptions } from "./options.ts";

/** Result of a distillation. */
export interface DistillResult extends EncoderTrainingResult {
  /**
   * kNN accuracy of the teacher and of the student before and after training; `null` without test data. `before` is
   * measured at the start of the whole run, and is `null` if a resumed run no longer knows it.
   */
  knn: { teacher: Accuracy; before: Accuracy | null; after: Accuracy } | null;
}

/** {@linkcode trainEncoder} of a student. */
export async function runDistillation(
  options: DistillOptions,
  emit: Emit<DistillEvent> = () => {},
  signal?: AbortSignal,
  soFar: RunSoFar = NOTHING_SO_FAR,
  wanted: Wanted = {},
): Promise<DistillResult> {
  const { knn, ...result } = await trainEncoder(DISTILLATION, options, emit, signal, soFar, wanted);
  return { ...result, knn: knn && { ...knn, teacher: knn.teacher! } }; // there is always a teacher
}
