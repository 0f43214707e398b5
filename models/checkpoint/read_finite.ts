/** Reads weights, and refuses those that are not finite. */
import { describeBadEntry, USE_ANOTHER_FILE } from "../finite.ts";
import type { RowRange } from "../parameter_layout.ts";
import { CheckpointError } from "./checkpoint_error.ts";
import type { TensorRef } from "./tensor_ref.ts";

/** A tensor holds a number that is not finite, or a running variance below 0. */
export class NotFiniteError extends CheckpointError {}

/**
 * Reads a tensor, or some of its rows, as float32.
 *
 * @param path of its file, for the error
 * @param key its name there, for the error
 * @throws {NotFiniteError} where a number of it is NaN or infinite, or a running variance is below 0
 */
export async function readFinite(
  path: string,
  key: string,
  tensor: TensorRef,
  rows?: RowRange,
): Promise<Float32Array<ArrayBuffer>> {
  const part = rows === undefined ? tensor : tensor.narrow(rows.first, rows.count);
  const values = await part.read();
  const offset = rows === undefined ? 0 : rows.first * (tensor.size / tensor.shape[0]);
  const problem = describeBadEntry(key, values, offset);
  if (problem !== undefined) throw new NotFiniteError(path, `${problem}; ${USE_ANOTHER_FILE}`);
  return values;
}

/**
 * Reads tensors one after the other, and refuses them as {@linkcode readFinite} does. What is no floating-point number, as
 * batch norm's counters, is left aside.
 */
export async function requireFinite(
  path: string,
  tensors: Iterable<readonly [string, TensorRef]>,
): Promise<void> {
  for (const [key, tensor] of tensors) {
    if (tensor.dtype.includes("float")) await readFinite(path, key, tensor);
  }
}
