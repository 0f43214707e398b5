/** Finds the encoder that is to be exported in a checkpoint: the student or the teacher, whole or without its head. */
import { CheckpointError, quote } from "../checkpoint/checkpoint_error.ts";
import { type Framework, loadStateDict, matchStateDict, type StateDict } from "../checkpoint/state_dict.ts";
import { readStudentCheckpoint } from "../checkpoint/student_checkpoint.ts";
import type { TensorRef } from "../checkpoint/tensor_ref.ts";
import type { StateEntry } from "../encoder_builder.ts";
import { findHead, type HeadOptions } from "../heads.ts";
import { type Encoder, type EncoderRole, ENCODERS, findEncoder, usualHead } from "../registry.ts";
import { type EncoderPart, plainKey, stateOfPart } from "./encoder_parts.ts";

/** What {@linkcode openExportSource} looks for. */
export interface ExportSourceOptions {
  /** Name of the encoder; found out where it is left out. */
  arch?: string;
  /** In a checkpoint that holds both; the student by default. */
  which?: EncoderRole;
  part: EncoderPart;
}

/** An open checkpoint, and what of it is to be exported. Close it with `using`. */
export interface ExportSource extends Disposable {
  readonly encoder: Encoder;
  /** The head as the checkpoint has it; a usual one where only the backbone is wanted and the file has none. */
  readonly head: HeadOptions;
  readonly framework: Framework;
  /** Epochs done, where the file says so. */
  readonly epoch: number | undefined;
  /** The part's entries, in PyTorch's order. */
  readonly state: readonly StateEntry[];
  /** The part's tensors by the encoder's keys, in their order; counters only where the file has them. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
}

/**
 * Opens a checkpoint and checks that the part that is wanted is in it.
 *
 * @throws {UserError} where the file cannot be read, the encoder cannot be told, or keys are missing, unexpected or of
 * another shape
 */
export async function openExportSource(
  path: string,
  { arch, which, part }: ExportSourceOptions,
): Promise<ExportSource> {
  const state = await loadStateDict(path);
  try {
    const tensors = which === "teacher" ? teacherOf(state) : state.tensors;
    // The checkpoint's own word is about the student.
    const said = which === "teacher" ? undefined : state.arch;
    const encoder = arch === undefined ? recognize(path, tensors, part, said) : findEncoder(arch);
    const { head, entries, isOptional } = expect(encoder, tensors, part);
    return {
      encoder,
      head,
      framework: state.framework,
      epoch: state.epoch,
      state: entries,
      tensors: matchStateDict({ ...state, tensors }, entries, isOptional),
      [Symbol.dispose]: () => state.close(),
    };
  } catch (error) {
    state.close();
    throw error;
  }
}

type Tensors = ReadonlyMap<string, TensorRef>;

/** What of an encoder must be among some tensors, and what may be there beside it: to a backbone, the head. */
function expect(encoder: Encoder, tensors: Tensors, part: EncoderPart) {
  // A backbone's file may have no head, and the backbone does not depend on it.
  const head = findHead(tensors) ?? usualHead(encoder);
  const entries = stateOfPart(encoder, head, part);
  const inPart = new Set(entries.map(({ key }) => key));
  const rest = stateOfPart(encoder, head, "encoder").filter(({ key }) => !inPart.has(key));
  const roots = new Set(rest.map(({ key }) => plainKey(key).split(".")[0]));
  return { head, entries, isOptional: (key: string) => roots.has(key.split(".")[0]) };
}

/** Whether the tensors are those of an encoder, by names and shapes; batch norm's counters are not looked at. */
function fits(encoder: Encoder, tensors: Tensors, part: EncoderPart): boolean {
  const { entries, isOptional } = expect(encoder, tensors, part);
  const expected = entries.filter(({ kind }) => kind !== "counter");
  const found = [...tensors.keys()].filter((key) => !key.endsWith("num_batches_tracked") && !isOptional(key));
  return found.length === expected.length &&
    expected.every(({ key, shape }) => tensors.get(plainKey(key))?.shape.join() === shape.join());
}

/** The encoder of a checkpoint. Of several that fit, the one that the file names, or else the first. */
function recognize(path: string, tensors: Tensors, part: EncoderPart, said: string | undefined): Encoder {
  const head = findHead(tensors);
  const ssl = head === undefined
    ? undefined
    : head.root === "projection_head"
    ? "swav"
    : head.kind === "mlp_bn"
    ? "simclr"
    : "moco";
  const fitting = ENCODERS.filter((encoder) =>
    (ssl === undefined || encoder.ssl === ssl) && fits(encoder, tensors, part)
  );
  const encoder = fitting.find(({ name }) => name === said) ?? fitting[0];
  if (encoder !== undefined) return encoder;
  throw new CheckpointError(
    path,
    `holds no ${part} of an encoder that is known${said === undefined ? "" : ` (it says ${quote(said)})`}. ` +
      `Name one with --arch to see where it differs: ${ENCODERS.map(({ name }) => name).join(", ")}`,
  );
}

function teacherOf({ file, framework }: StateDict): ReadonlyMap<string, TensorRef> {
  if (framework !== "seed") {
    throw new CheckpointError(
      file.path,
      `has one encoder only, no teacher beside a student (it is a ${framework} checkpoint); leave --which out`,
    );
  }
  const { teacher } = readStudentCheckpoint(file);
  if (teacher.size === 0) {
    throw new CheckpointError(file.path, "has no teacher in it; export it from the teacher's own checkpoint");
  }
  return teacher;
}
