/**
 * Checkpoints that Hugging Face cuts into several safetensors files: `model-00001-of-00003.safetensors` and so on, with an
 * index beside them, `model.safetensors.index.json`, which says in which file each tensor is.
 */
import { basename, dirname, join } from "node:path";
import { type Fail, quote } from "./checkpoint_error.ts";
import type { TensorRef } from "./tensor_ref.ts";

const SHARD = /^(.*)-\d{5}-of-(\d{5})\.safetensors$/;
const INDEX = /\.safetensors\.index\.json$/;
/** An index of a hundred thousand tensors takes less. */
export const MAX_INDEX_BYTES = 2 ** 24;

/** Whether a path is that of an index, or of one file of several: the others lie in the same folder. */
export function isOfShards(path: string): boolean {
  return INDEX.test(path) || shardsOf(path).length > 1;
}

/** `model` of a path of shards that ends in `model.safetensors.index.json`, or in the name of one file; other paths as they are. */
export function withoutShard(path: string): string {
  return isOfShards(path) ? path.replace(INDEX, "").replace(SHARD, "$1") : path;
}

/** Path of the index of a checkpoint that {@linkcode isOfShards}; where one of its files was given, there need not be one. */
export function indexPathOf(path: string): string {
  return path.replace(SHARD, "$1.safetensors.index.json");
}

/**
 * Reads what an index says: in which file each tensor is.
 *
 * @throws CheckpointError for an index that is none
 */
export function parseIndex(text: string, fail: Fail): Map<string, string> {
  const map = weightMapOf(text);
  if (map === undefined) {
    throw fail('is no index of safetensors files: expected JSON with a "weight_map" from names to files');
  }
  const outside = map.values().find((file) => file !== basename(file) || !file.endsWith(".safetensors"));
  if (outside !== undefined) {
    throw fail(`names the file ${quote(outside)}; expected safetensors files in its own folder`);
  }
  return map;
}

/**
 * Finds the files of a checkpoint.
 *
 * @param path of its index, or of any of the files; see {@linkcode isOfShards}
 * @param index what the index says, where there is one; see {@linkcode parseIndex}
 */
export function findShards(path: string, index: ReadonlyMap<string, string> | undefined): string[] {
  if (index === undefined || !INDEX.test(path)) return shardsOf(path);
  return [...new Set(index.values())].map((file) => join(dirname(path), file));
}

/**
 * Joins the tensors of several files.
 *
 * @param index what the index says, where there is one: without a tensor, a file may look like that of another architecture
 * @throws CheckpointError where two have a tensor of the same name, or none has one of the index
 */
export function joinShards(
  shards: readonly ReadonlyMap<string, TensorRef>[],
  index: ReadonlyMap<string, string> | undefined,
  fail: Fail,
): Map<string, TensorRef> {
  const tensors = new Map<string, TensorRef>();
  for (const [name, tensor] of shards.flatMap((shard) => [...shard])) {
    if (tensors.has(name)) throw fail(`has the tensor ${quote(name)} in two of its files`);
    tensors.set(name, tensor);
  }
  const lost = index?.entries().find(([name]) => !tensors.has(name));
  if (lost !== undefined) {
    const [name, file] = lost;
    throw fail(
      `lacks the tensor ${quote(name)}, which its index has in ${quote(file)}; copy or download it again`,
    );
  }
  return tensors;
}

/** The files that a path is one of; none where it is a whole checkpoint. */
function shardsOf(path: string): string[] {
  const [, stem, count = "0"] = SHARD.exec(path) ?? [];
  return Array.from(
    { length: Number(count) },
    (_, i) => `${stem}-${String(i + 1).padStart(5, "0")}-of-${count}.safetensors`,
  );
}

/** What an index says; `undefined` where it is none. */
function weightMapOf(text: string): Map<string, string> | undefined {
  try {
    const map = new Map<string, string>(Object.entries(JSON.parse(text).weight_map));
    return map.size > 0 && map.values().every((file) => typeof file === "string") ? map : undefined;
  } catch {
    return undefined;
  }
}
