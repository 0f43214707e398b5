/** Encoders from checkpoint files: which head they have, and their weights one entry at a time. */
import { UserError } from "../errors.ts";
import { loadStateDict, matchStateDict, type StateDict } from "./checkpoint/state_dict.ts";
import type { TensorRef } from "./checkpoint/tensor_ref.ts";
import type { HeadOptions } from "./heads.ts";
import type { RowRange } from "./parameter_layout.ts";
import { type Encoder, summarize } from "./registry.ts";
import { requireHead } from "./teacher.ts";

/** An open checkpoint that was found to fit an encoder. Close it with `using`. */
export interface EncoderSource extends Disposable {
  /** The head as the checkpoint has it. */
  readonly head: HeadOptions;
  readonly state: StateDict;
  /** Tensors by the encoder's keys, in their order. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** Reads one entry, or some rows of it, in PyTorch's layout. Call it as a function of its own. */
  read: (key: string, rows?: RowRange) => Promise<Float32Array>;
}

/**
 * Opens a checkpoint and checks that it fits an encoder; the kind and length of the head are taken from the file.
 *
 * @param dimension length that the embedding must have; any where it is left out
 * @throws {UserError} names the keys that are missing, unexpected or of another shape, or the wrong dimension
 */
export async function openEncoderSource(
  path: string,
  encoder: Encoder,
  dimension?: number,
): Promise<EncoderSource> {
  const state = await loadStateDict(path);
  try {
    const head = requireHead(state);
    const { state: expected } = summarize(encoder, head, 64);
    const tensors = matchStateDict(state, expected);
    if (dimension !== undefined && head.dimension !== dimension) {
      const isClassifier = state.framework === "torchvision" && head.kind === "linear";
      throw new UserError(
        `${path}: its embeddings have ${head.dimension} numbers, but --dim is ${dimension}; ${
          isClassifier
            ? `its fc looks like a classifier of ${head.dimension} classes, while a self-supervised teacher is wanted`
            : `use --dim ${head.dimension}`
        }`,
      );
    }
    return {
      head,
      state,
      tensors,
      read: (key, rows) => readRows(tensors.get(key)!, rows),
      [Symbol.dispose]: () => state.close(),
    };
  } catch (error) {
    state.close();
    throw error;
  }
}

async function readRows(tensor: TensorRef, rows: RowRange | undefined): Promise<Float32Array> {
  if (rows === undefined) return await tensor.read();
  if (rows.first === 0) await tensor.verify();
  return await tensor.narrow(rows.first, rows.count).read();
}
