/** Where a student starts from, if not from fresh weights: `--student-init`. */
import { type EncoderSource, openEncoderSource } from "../models/encoder_source.ts";
import { findEncoder } from "../models/registry.ts";
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
