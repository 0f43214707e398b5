/** Copies of checkpoints with some numbers changed. */
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { PyFloat, TensorValue, type TorchValue } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";

/**
 * Writes a checkpoint once more. `numbers` says, for the end of a tensor's name (its keys with dots between), which number
 * stands at which index then. Every name must be met.
 */
export async function spoil(
  from: string,
  to: string,
  numbers: Readonly<Record<string, Readonly<Record<number, number>>>>,
): Promise<string> {
  using file = await openCheckpointFile(from);
  const left = new Set(Object.keys(numbers));
  const copy = async (value: TorchValue, name: string): Promise<TorchValue> => {
    if (value instanceof TensorRef) {
      const end = Object.keys(numbers).find((candidate) => name.endsWith(candidate));
      if (end === undefined) return value;
      left.delete(end);
      const data = await value.read();
      for (const [at, number] of Object.entries(numbers[end])) data[Number(at)] = number;
      return new TensorValue("float32", value.shape, data);
    }
    if (Array.isArray(value)) return await Promise.all(value.map((item, i) => copy(item, `${name}.${i}`)));
    // A float with nothing behind its point is a number like any other when it has been read.
    if (typeof value === "number" && /\b(lr|best_acc1)$/.test(name)) return new PyFloat(value);
    if (!(value instanceof Map)) return value;
    const entries: [TorchValue, TorchValue][] = [];
    for (const [key, item] of value) entries.push([key, await copy(item, `${name}.${key}`)]);
    return new (value.constructor as typeof Map)(entries) as Map<TorchValue, TorchValue>;
  };
  await writeTorchFile(to, await copy(file.value, ""));
  if (left.size > 0) throw new Error(`${from}: has no ${[...left].join(", ")}`);
  return to;
}
