/** Checkpoints to export, and what must come of them. */
import { assertEquals } from "@std/assert";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import type { NamedTensor } from "../../../models/checkpoint/named_tensor.ts";
import { OrderedDict, TensorValue, torchDict } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import { findEncoder, summarize, usualHead } from "../../../models/registry.ts";
import { formulaReader } from "../reference_encoder.ts";

/** The state_dict of an encoder with the formula's values, its counters at 42. */
export function formulaTensors(arch: string, prefix = ""): NamedTensor[] {
  const { state } = summarize(findEncoder(arch), usualHead(findEncoder(arch)), 64);
  const read = formulaReader(state, prefix);
  return state.map(({ key, shape, kind }) =>
    kind === "counter"
      ? { key, dtype: "int64", shape, data: BigInt64Array.of(42n) }
      : { key, shape, data: read(key) as Float32Array<ArrayBuffer> }
  );
}

/** A state_dict to be written. */
export function named(tensors: readonly NamedTensor[], prefix = ""): OrderedDict {
  return new OrderedDict(
    tensors.map(({ key, dtype = "float32", shape, data }) => [
      prefix + key,
      new TensorValue(dtype, shape, data),
    ]),
  );
}

/** A checkpoint of MoCo with the formula's weights, without what a trainer keeps beside them. */
export async function writeMoco(
  path: string,
  tensors: readonly NamedTensor[],
  arch = "resnet18",
): Promise<string> {
  const weights = named(tensors, "module.encoder_q.");
  await writeTorchFile(path, torchDict([["epoch", 200], ["arch", arch], ["state_dict", weights]]));
  return path;
}

/** A file has these tensors, in this order, bit for bit. */
export async function assertSameTensors(
  path: string,
  expected: readonly NamedTensor[],
): Promise<void> {
  using state = await loadStateDict(path);
  assertEquals([...state.tensors.keys()], expected.map(({ key }) => key));
  for (const { key, dtype = "float32", shape, data } of expected) {
    const tensor = state.tensors.get(key)!;
    assertEquals([tensor.dtype, [...tensor.shape]], [dtype, [...shape]], key);
    assertEquals(await tensor.readRaw(), data, key);
  }
}

/** Of the heads that are called `fc`. */
export const isHead = ({ key }: { key: string }) => key.startsWith("fc.");
