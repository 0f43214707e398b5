/**
 * Opens what `torch.save` writes: the zip container (PyTorch 1.6 and later) and the legacy one; and safetensors. What
 * it is, is seen from the content. Nothing in the file is ever run, see `unpickle.ts`; weights stay in the file until
 * they are asked for.
 */
import { adviceFor, describeKind } from "../../data/stat_or_explain.ts";
import { type ByteSource, FileSource } from "./byte_source.ts";
import { CheckpointError, type Fail } from "./checkpoint_error.ts";
import { describeForeignFile } from "./foreign_file.ts";
import {
  findShards,
  indexPathOf,
  isOfShards,
  joinShards,
  MAX_INDEX_BYTES,
  parseIndex,
} from "./safetensors_shards.ts";
import { looksLikeSafetensors, readSafetensors, type SafetensorsContent } from "./safetensors.ts";
import { TensorRef } from "./tensor_ref.ts";
import { describeRefusal, SkippedObject, textOfType } from "./torch_globals.ts";
import { looksLikeTorchLegacy, readTorchLegacy } from "./torch_legacy.ts";
import { INPUT_KEY, parseInputJson } from "./saved_input.ts";
import { OrderedDict, torchDict, type TorchValue } from "./torch_value.ts";
import { looksLikeZip, readTorchZip } from "./torch_zip.ts";
import { PickleGlobal } from "./unpickle.ts";

const MAX_DEPTH = 100;
const MAX_TREE_VALUES = 1 << 22;

/** How checkpoint files are built: `torch.save` of PyTorch 1.6 and later, the one before, and safetensors. */
export const CONTAINERS = ["zip", "legacy", "safetensors"] as const;

/** One of {@linkcode CONTAINERS}. */
export type Container = typeof CONTAINERS[number];

/** An open checkpoint file. Close it (or let `using` do so) when its tensors have been read. */
export class CheckpointFile implements Disposable {
  /** The path that it was opened by. */
  readonly path: string;
  /** Paths of all that it is cut into; else {@linkcode path} alone. */
  readonly files: readonly string[];
  /** How the file is built. */
  readonly container: Container;
  /** The content; tensors are {@linkcode TensorRef}s, dicts are Maps in the file's order. */
  readonly value: TorchValue;
  /** Size of the file, or of all that it is cut into. */
  readonly bytes: number;
  readonly #sources: readonly FileSource[];

  /** Made by {@linkcode openCheckpointFile}. */
  constructor(
    path: string,
    { files, container, value }: { files: readonly string[]; container: Container; value: TorchValue },
    sources: readonly FileSource[],
  ) {
    this.path = path;
    this.files = files;
    this.container = container;
    this.value = value;
    this.bytes = sources.reduce((sum, { size }) => sum + size, 0);
    this.#sources = sources;
  }

  /** Closes the file. Tensors cannot be read any more. */
  close(): void {
    for (const source of this.#sources) source.close();
  }

  /** The same as {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Opens a checkpoint file.
 *
 * Only its structure is read and checked: every tensor fits its storage, every storage is in the file.
 *
 * @example
 * ```ts
 * import { openCheckpointFile } from "./checkpoint_file.ts";
 * using file = await openCheckpointFile("checkpoint_0199.pth.tar");
 * console.log(file.container, file.value);
 * ```
 *
 * @throws CheckpointError for files that are missing, damaged, of another kind, or that ask for code to be run
 */
export async function openCheckpointFile(path: string): Promise<CheckpointFile> {
  const sources: FileSource[] = [];
  try {
    const open = isOfShards(path) ? openShards : openWhole;
    const { files, container, value } = await open(path, sources);
    if (value instanceof SkippedObject) throw new CheckpointError(path, describeRefusal(value.className));
    checkTree(value, (problem) => new CheckpointError(path, problem));
    return new CheckpointFile(path, { files, container, value }, sources);
  } catch (error) {
    for (const source of sources) source.close();
    throw error;
  }
}

/** What a file holds; its source is added to `sources`. */
async function openWhole(
  path: string,
  sources: FileSource[],
): Promise<{ files: readonly string[]; container: Container; value: unknown }> {
  const { source, fail } = await openSource(path, sources);
  const head = new Uint8Array(Math.min(source.size, 512));
  source.readAt(0, head);
  const container = containerOf(head);
  if (container === undefined) throw fail(describeForeignFile(head, source.size));
  return { files: [path], container, value: await READERS[container](source, fail) };
}

/** What the files hold that a checkpoint is cut into, likewise. */
async function openShards(path: string, sources: FileSource[]): ReturnType<typeof openWhole> {
  await requireFile(path);
  const fail: Fail = (problem) => new CheckpointError(path, problem);
  const shards: Map<string, TensorRef>[] = [];
  const index = await readIndex(path);
  const files = findShards(path, index);
  for (const shard of files) {
    const { source, fail: failOf } = await openSource(shard, sources);
    shards.push(readSafetensors(source, failOf).tensors);
  }
  return { files, container: "safetensors", value: joinShards(shards, index, fail) };
}

/** What the index of a checkpoint in several files says; `undefined` where one of them was given and has none beside it. */
async function readIndex(path: string): Promise<Map<string, string> | undefined> {
  const index = indexPathOf(path);
  if (index !== path && !await exists(index)) return undefined;
  const { size } = await requireFile(index);
  const fail: Fail = (problem) => new CheckpointError(index, problem);
  if (size > MAX_INDEX_BYTES) throw fail(`has ${size} bytes, too many for an index of safetensors files`);
  return parseIndex(await explainOpening(index, () => Deno.readTextFile(index)), fail);
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.NotFound);
  }
}

async function openSource(path: string, sources: FileSource[]): Promise<{ source: FileSource; fail: Fail }> {
  const fail: Fail = (problem) => new CheckpointError(path, problem);
  const source = new FileSource(await openFile(path), fail);
  sources.push(source);
  return { source, fail };
}

function containerOf(head: Uint8Array): Container | undefined {
  if (looksLikeZip(head)) return "zip";
  if (looksLikeTorchLegacy(head)) return "legacy";
  return looksLikeSafetensors(head) ? "safetensors" : undefined;
}

const READERS: Readonly<Record<Container, (source: ByteSource, fail: Fail) => unknown>> = {
  zip: readTorchZip,
  legacy: readTorchLegacy,
  safetensors: (source, fail) => asCheckpoint(readSafetensors(source, fail)),
};

/** Where the metadata says an epoch, an architecture or an input, as a training program's checkpoint has them; else the bare dict. */
function asCheckpoint({ tensors, metadata }: SafetensorsContent): TorchValue {
  const [arch, epoch, input] = ["arch", "epoch", INPUT_KEY].map((name) => metadata.get(name));
  if (arch === undefined && epoch === undefined && input === undefined) return new Map(tensors);
  return torchDict([
    ...(epoch !== undefined && /^\d{1,15}$/.test(epoch) ? [["epoch", Number(epoch)] as const] : []),
    ...(arch === undefined ? [] : [["arch", arch] as const]),
    ...(input === undefined ? [] : [[INPUT_KEY, parseInputJson(input)] as const]),
    ["state_dict", new Map(tensors)],
  ]);
}

async function openFile(path: string): Promise<Deno.FsFile> {
  // To open a pipe waits until somebody writes to it, so that it is looked at first.
  await requireFile(path);
  return explainOpening(path, () => Deno.open(path));
}

async function requireFile(path: string): Promise<Deno.FileInfo> {
  const info = await explainOpening(path, () => Deno.stat(path));
  if (info.isFile) return info;
  throw new CheckpointError(path, `is ${describeKind(info)}; expected a checkpoint file${adviceFor(info)}`);
}

async function explainOpening<T>(path: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new CheckpointError(path, "no such file");
    throw new CheckpointError(path, `cannot be opened: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * Refuses what is not a tree of plain data: values that contain themselves, too deep or too many, stray objects. Types that are
 * values in it become their texts.
 */
function checkTree(value: unknown, fail: Fail): asserts value is TorchValue {
  const open = new Set<unknown>();
  let count = 0;
  const check = (node: unknown): void => {
    if (++count > MAX_TREE_VALUES) throw fail(`its pickle expands to more than ${MAX_TREE_VALUES} values`);
    if (typeof node !== "object" || node === null) return;
    if (node instanceof TensorRef || node instanceof Uint8Array) return;
    if (open.has(node)) throw fail("its pickle holds a list or dict that contains itself");
    if (open.size >= MAX_DEPTH) throw fail(`its pickle nests more than ${MAX_DEPTH} lists and dicts`);
    open.add(node);
    if (Array.isArray(node)) {
      for (const [i, item] of node.entries()) {
        node[i] = textOfType(item) ?? item;
        check(node[i]);
      }
    } else if (node instanceof Map) {
      for (const [key, item] of node) {
        check(key);
        const text = textOfType(item);
        if (text !== undefined) node.set(key, text);
        check(text ?? item);
      }
      if (node instanceof OrderedDict && node.input !== undefined) check(node.input);
    } else {
      throw fail(
        node instanceof PickleGlobal
          ? describeRefusal(node.name)
          : "its pickle holds something that is neither plain data nor a tensor, e.g. a bare storage",
      );
    }
    open.delete(node);
  };
  check(value);
}
