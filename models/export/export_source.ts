/** Finds the encoder that is to be exported in a checkpoint: the student or the teacher, whole or without its head. */
import { CheckpointError, quote } from "../checkpoint/checkpoint_error.ts";
import {
  encoderBeside,
  type Framework,
  loadStateDict,
  matchStateDict,
  type StateDict,
} from "../checkpoint/state_dict.ts";
import type { TensorRef } from "../checkpoint/tensor_ref.ts";
import type { StateEntry } from "../encoder_builder.ts";
import type { EncoderPart } from "../encoder_parts.ts";
import type { HeadOptions } from "../heads.ts";
import { expectPart, recognizeEncoders, type Shapes } from "../recognize.ts";
import { type Encoder, type EncoderRole, ENCODERS, findEncoder } from "../registry.ts";

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
    const { head, entries, isOptional } = expectPart(encoder, tensors, part);
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

/** The encoder of a checkpoint. Of several that fit, the one that the file names, or else the first. */
function recognize(path: string, tensors: Shapes, part: EncoderPart, said: string | undefined): Encoder {
  const [encoder] = recognizeEncoders(tensors, part, said);
  if (encoder !== undefined) return encoder;
  throw new CheckpointError(
    path,
    `holds no ${part} of an encoder that is known${said === undefined ? "" : ` (it says ${quote(said)})`}. ` +
      `Name one with --arch to see where it differs: ${ENCODERS.map(({ name }) => name).join(", ")}`,
  );
}

function teacherOf(state: StateDict): ReadonlyMap<string, TensorRef> {
  const { file, framework } = state;
  if (framework !== "seed") {
    throw new CheckpointError(
      file.path,
      `has one encoder only, no teacher beside a student (it is a ${framework} checkpoint); leave --which out`,
    );
  }
  const teacher = encoderBeside(state, "teacher");
  if (teacher.size === 0) {
    throw new CheckpointError(file.path, "has no teacher in it; export it from the teacher's own checkpoint");
  }
  return teacher;
}
