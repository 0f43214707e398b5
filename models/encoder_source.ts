/** Encoders from checkpoint files: which head they have, and their weights one entry at a time. */
import { UserError } from "../errors.ts";
import { loadStateDict, matchStateDict, type StateDict } from "./checkpoint/state_dict.ts";
import type { TensorRef } from "./checkpoint/tensor_ref.ts";
import type { HeadOptions } from "./heads.ts";
import { type Encoder, summarize } from "./registry.ts";

/** An open checkpoint that was found to fit an encoder. Close it with `using`. */
export interface EncoderSource extends Disposable {
  /** The head as the checkpoint has it. */
  readonly head: HeadOptions;
  readonly state: StateDict;
  /** Tensors by the encoder's keys, in their order. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** Reads one entry, in PyTorch's layout. */
  read(key: string): Promise<Float32Array>;
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
    const head = headOf(state.tensors);
    // Where the file has no head that is known, what it lacks is listed against the usual one.
    const { state: expected } = summarize(encoder, head ?? { kind: "mlp", dimension: dimension ?? 128 }, 64);
    const tensors = matchStateDict(state, expected);
    if (dimension !== undefined && head!.dimension !== dimension) {
      throw new UserError(
        `${path}: its embeddings have ${head!.dimension} numbers, but --dim is ${dimension}; use --dim ${
          head!.dimension
        }`,
      );
    }
    return {
      head: head!,
      state,
      tensors,
      read: (key) => tensors.get(key)!.read(),
      [Symbol.dispose]: () => state.close(),
    };
  } catch (error) {
    state.close();
    throw error;
  }
}

/** The head that the keys of a state_dict speak of. */
function headOf(tensors: ReadonlyMap<string, TensorRef>): HeadOptions | undefined {
  const mlp = tensors.get("fc.2.weight");
  if (mlp !== undefined) return { kind: "mlp", dimension: mlp.shape[0] };
  const linear = tensors.get("fc.weight");
  return linear === undefined ? undefined : { kind: "linear", dimension: linear.shape[0] };
}
