/** A number by which the same weights are known again, in whatever file they lie. */
import { createHash } from "node:crypto";
import { isCounter, type NamedTensor } from "./named_tensor.ts";
import type { TensorRef } from "./tensor_ref.ts";

/** A tensor that is read when its turn comes. */
interface ReadTensor {
  key: string;
  shape: readonly number[];
  read: () => ArrayBufferView | Promise<ArrayBufferView>;
}

/**
 * SHA-256, hexadecimal, of tensors as float32: of their names, shapes and elements, in the order of the names. Counters of
 * batches are left out, since not every program saves them. One tensor is in memory at a time.
 *
 * @param tensors by plain keys
 */
export async function fingerprintWeights(
  tensors: ReadonlyMap<string, TensorRef> | readonly (NamedTensor | ReadTensor)[],
): Promise<string> {
  const named: ReadTensor[] = isList(tensors)
    ? tensors.map((tensor) => "read" in tensor ? tensor : { ...tensor, read: () => tensor.data })
    : [...tensors].map(([key, tensor]) => ({ key, shape: tensor.shape, read: () => tensor.read() }));
  const hash = createHash("sha256");
  for (const { key, shape, read } of named.sort((a, b) => a.key < b.key ? -1 : 1)) {
    if (isCounter(key)) continue;
    const { buffer, byteOffset, byteLength } = await read();
    hash.update(`${key} ${shape.join(" ")}\n`).update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest("hex");
}

/** `Array.isArray`, which does not tell a readonly list from what is none. */
function isList<T>(tensors: ReadonlyMap<string, TensorRef> | readonly T[]): tensors is readonly T[] {
  return Array.isArray(tensors);
}
