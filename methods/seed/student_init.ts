/** What a student starts from: fresh weights, or those of `--student-init`. */
import { type EncoderSource, openEncoderSource } from "../../models/encoder_source.ts";
import type { StateEntry } from "../../models/encoder_builder.ts";
import { initialize } from "../../models/initialize.ts";
import { findEncoder } from "../../models/registry.ts";
import type { NamedValues } from "../../actors/messages.ts";
import type { DistillOptions } from "./options.ts";

/** The checkpoint, open: whole where its head fits the student's, else its backbone alone. */
export interface StudentInit extends EncoderSource {
  /** Whether the head is taken too. */
  readonly takesHead: boolean;
}

/**
 * Opens the checkpoint of `studentInit`, which may be of any program that the loader knows.
 *
 * @throws {UserError} where it has no backbone of the student's architecture
 */
export async function openStudentInit(
  { studentInit, studentArch, studentMlp, dim }: DistillOptions,
): Promise<StudentInit> {
  const path = studentInit!;
  const backbone = await openEncoderSource(path, { arch: studentArch, part: "backbone" });
  const { kind, dimension, hidden } = backbone.head;
  const { features } = findEncoder(studentArch);
  const takesHead = backbone.hasHead && kind === (studentMlp ? "mlp" : "linear") && dimension === dim &&
    (hidden ?? features) === features;
  if (!takesHead) return { ...backbone, takesHead };
  backbone[Symbol.dispose]();
  return { ...await openEncoderSource(path, { arch: studentArch, part: "encoder" }), takesHead };
}

/**
 * The student before the first step: drawn from a seed, and where there is a `studentInit`, as that has it.
 *
 * @param state what the student has
 */
export async function initialStudent(
  options: DistillOptions,
  seed: number,
  state: readonly StateEntry[],
): Promise<NamedValues> {
  const values = initialize(state, seed);
  if (options.studentInit === null) return [...values];
  using init = await openStudentInit(options);
  for (const key of values.keys()) {
    if (init.tensors.has(key)) values.set(key, await init.tensors.get(key)!.read());
  }
  return [...values];
}
