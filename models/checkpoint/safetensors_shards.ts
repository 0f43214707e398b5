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
const MAX_INDEX_BYTES = 2 ** 24;

/** Whether a path is that of an index, or of one file of several: the others lie in the same folder. */
export function isOfShards(path: string): boolean {
  return INDEX.test(path) || shardsOf(path).length > 1;
}

/** `model` of a path of shards that ends in `model.safetensors.index.json`, or in the name of one file; other paths as they are. */
export function withoutShard(path: string): string {
  return isOfShards(path) ? path.replace(INDEX, "").replace(SHARD, "$1") : path;
}

/**
 * Finds the files of a checkpoint.
 *
 * @param path of its index, or of any of the files; see {@linkcode isOfShards}
 * @throws CheckpointError for an index that is none
 */
export async function findShards(path: string, fail: Fail): Promise<string[]> {
  if (!INDEX.test(path)) return shardsOf(path);
  const { size } = await Deno.stat(path);
  if (size > MAX_INDEX_BYTES) throw fail(`has ${size} bytes, too many for an index of safetensors files`);
  const files = filesOf(await Deno.readTextFile(path));
  if (files === undefined) {
    throw fail('is no index of safetensors files: expected JSON with a "weight_map" from names to files');
  }
  const outside = files.find((file) => file !== basename(file) || !file.endsWith(".safetensors"));
  if (outside !== undefined) {
    throw fail(`names the file ${quote(outside)}; expected safetensors files in its own folder`);
  }
  return files.map((file) => join(dirname(path), file));
}

/**
 * Joins the tensors of several files.
 *
 * @throws CheckpointError where two have a tensor of the same name
 */
export function joinShards(
  shards: readonly ReadonlyMap<string, TensorRef>[],
  fail: Fail,
): Map<string, TensorRef> {
  const tensors = new Map<string, TensorRef>();
  for (const [name, tensor] of shards.flatMap((shard) => [...shard])) {
    if (tensors.has(name)) throw fail(`has the tensor ${quote(name)} in two of its files`);
    tensors.set(name, tensor);
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

/** The files that an index names, each once; `undefined` where it is none. */
function filesOf(text: string): string[] | undefined {
  try {
    const { weight_map: map } = JSON.parse(text);
    const files = Object.values(map);
    return files.length > 0 && files.every((file) => typeof file === "string")
      ? [...new Set(files)]
      : undefined;
  } catch {
    return undefined;
  }
}
