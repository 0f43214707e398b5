/** A number by which the same weights are known again, in whatever file they lie. */
import { createHash } from "node:crypto";
import { isCounter, type NamedTensor } from "./named_tensor.ts";
import type { TensorRef } from "./tensor_ref.ts";

/**
 * SHA-256, hexadecimal, of tensors as float32: of their names, shapes and elements, in the order of the names. Counters of
 * batches are left out, since not every program saves them. One tensor is in memory at a time.
 *
 * @param tensors by plain keys
 */
export async function fingerprintWeights(
  tensors: ReadonlyMap<string, TensorRef> | readonly NamedTensor[],
): Promise<string> {
  const named: [string, readonly number[], () => Promise<ArrayBufferView> | ArrayBufferView][] = [];
  if (Array.isArray(tensors)) {
    for (const { key, shape, data } of tensors as readonly NamedTensor[]) {
      named.push([key, shape, () => data]);
    }
  } else {
    for (const [key, tensor] of tensors as ReadonlyMap<string, TensorRef>) {
      named.push([key, tensor.shape, () => tensor.read()]);
    }
  }
  const hash = createHash("sha256");
  for (const [key, shape, read] of named.sort(([a], [b]) => a < b ? -1 : 1)) {
    if (isCounter(key)) continue;
    const { buffer, byteOffset, byteLength } = await read();
    hash.update(`${key} ${shape.join(" ")}\n`).update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest("hex");
}
