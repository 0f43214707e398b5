/** The entries of an encoder that a checkpoint may lack: with their initial values, a file is complete. */
import { elementCount } from "../kernels/graph.ts";
import { TensorRef } from "./checkpoint/tensor_ref.ts";
import type { Encoder, UnusedEntry } from "./encoder.ts";
import type { Initial, StateEntry } from "./encoder_layers.ts";
import { PERIODS_KEY, ropePeriods } from "./rotary_embedding.ts";

/** The values of an entry that a file lacks. */
function valuesOf(initial: Initial, shape: readonly number[]): Float32Array<ArrayBuffer> {
  if (initial.draw === "given") return Float32Array.from(initial.values);
  if (initial.draw === "constant") return new Float32Array(elementCount(shape)).fill(initial.value);
  throw new Error(`an optional entry of shape [${shape}] is drawn at random: ${initial.draw}`);
}

/**
 * Adds the optional entries that a file lacks.
 *
 * @param found tensors by the encoder's keys
 * @param ropeTheta base of the periods of rotary positions, where the file's program says another than usual
 * @returns the tensors in the order of `entries`
 */
export function completeEntries(
  entries: readonly StateEntry[],
  found: ReadonlyMap<string, TensorRef>,
  ropeTheta?: number,
): Map<string, TensorRef> {
  const complete = new Map<string, TensorRef>();
  for (const { key, shape, optional = false, initial } of entries) {
    const isPeriods = key === PERIODS_KEY && ropeTheta !== undefined;
    const values = (): Initial =>
      isPeriods ? { draw: "given", values: ropePeriods(4 * shape[0], ropeTheta) } : initial;
    const tensor = found.get(key) ?? (optional ? TensorRef.of(valuesOf(values(), shape), shape) : undefined);
    if (tensor !== undefined) complete.set(key, tensor);
  }
  return complete;
}

/** Whether an optional entry has the values that files without it stand for: it tells nothing new then. */
export async function isUsual(
  { shape, optional = false, initial }: StateEntry,
  tensor: TensorRef,
): Promise<boolean> {
  if (!optional) return false;
  const [usual, values] = [valuesOf(initial, shape), await tensor.read()];
  return values.every((value, i) => value === usual[i]);
}

/**
 * The entries of an encoder's authors that it does without: as a file has them, else as they are otherwise.
 *
 * @param tensors the file's, by plain key
 * @param used the encoder's own, by its keys
 */
export function unusedEntries(
  { unused = [] }: Encoder,
  tensors: ReadonlyMap<string, TensorRef>,
  used: ReadonlyMap<string, TensorRef>,
): Map<string, TensorRef> {
  return new Map(unused.flatMap((entry) => {
    const tensor = takeFrom(entry, tensors) ?? otherwise(entry, used);
    return tensor === undefined ? [] : [[entry.key, tensor] as const];
  }));
}

/** A tensor of as many numbers; transformers has some with a dimension more. */
function takeFrom({ key, shape }: UnusedEntry, tensors: ReadonlyMap<string, TensorRef>) {
  const tensor = tensors.get(key);
  if (tensor?.size !== elementCount(shape)) return undefined;
  return tensor.shape.join() === shape.join() ? tensor : tensor.reshaped(shape);
}

function otherwise({ shape, otherwise: other }: UnusedEntry, used: ReadonlyMap<string, TensorRef>) {
  if (other === undefined) return undefined;
  return typeof other === "string" ? used.get(other) : TensorRef.of(valuesOf(other, shape), shape);
}
