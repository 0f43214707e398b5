/**
 * Opens what `torch.save` writes: the zip container (PyTorch 1.6 and later) and the legacy one; and safetensors. What
 * it is, is seen from the content. Nothing in the file is ever run, see `unpickle.ts`; weights stay in the file until
 * they are asked for.
 */
import { crc32 } from "node:zlib";
import { ByteReader, type ByteSource, FileSource, MemorySource, RangeSource } from "./byte_source.ts";
import { CheckpointError, type Fail, quote } from "./checkpoint_error.ts";
import { describeForeignFile } from "./foreign_file.ts";
import { type Dtype, DTYPES } from "./dtype.ts";
import { looksLikeSafetensors, readSafetensors, type SafetensorsContent } from "./safetensors.ts";
import { type StorageRef, TensorRef } from "./tensor_ref.ts";
import { type StorageView, TorchHost } from "./torch_globals.ts";
import { torchDict, type TorchValue } from "./torch_value.ts";
import { unpickle } from "./unpickle.ts";
import { ZipReader } from "./zip_reader.ts";

/** Far more than the structure of any model takes; the weights are not in the pickle. */
const MAX_PICKLE_BYTES = 64 * 2 ** 20;
const MAX_DEPTH = 100;
const MAX_TREE_VALUES = 1 << 22;
const ZIP_START = [0x50, 0x4b];
/** PROTO 2, LONG1 of 10 bytes: PyTorch's magic number 0x1950a86a20f9469cfc6c. */
const LEGACY_START = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const LEGACY_PROTOCOL = 1001;

/** How a checkpoint file is built. */
export type Container = "zip" | "legacy" | "safetensors";

/** An open checkpoint file. Close it (or let `using` do so) when its tensors have been read. */
export class TorchFile implements Disposable {
  /** The path that it was opened by. */
  readonly path: string;
  /** How the file is built. */
  readonly container: Container;
  /** The content; tensors are {@linkcode TensorRef}s, dicts are Maps in the file's order. */
  readonly value: TorchValue;
  readonly #source: FileSource;

  /** Made by {@linkcode openTorchFile}. */
  constructor(path: string, container: Container, value: TorchValue, source: FileSource) {
    this.path = path;
    this.container = container;
    this.value = value;
    this.#source = source;
  }

  /** Closes the file. Tensors cannot be read any more. */
  close(): void {
    this.#source.close();
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
 * import { openTorchFile } from "./torch_file.ts";
 * using file = await openTorchFile("checkpoint_0199.pth.tar");
 * console.log(file.container, file.value);
 * ```
 *
 * @throws CheckpointError for files that are missing, damaged, of another kind, or that ask for code to be run
 */
export async function openTorchFile(path: string): Promise<TorchFile> {
  const fail: Fail = (problem) => new CheckpointError(path, problem);
  const source = new FileSource(await openFile(path), fail);
  try {
    const head = new Uint8Array(Math.min(source.size, 512));
    source.readAt(0, head);
    const startsWith = (bytes: number[]) => bytes.every((byte, i) => head[i] === byte);
    const container = startsWith(ZIP_START)
      ? "zip"
      : startsWith(LEGACY_START)
      ? "legacy"
      : looksLikeSafetensors(head)
      ? "safetensors"
      : undefined;
    if (container === undefined) throw fail(describeForeignFile(head, source.size));
    const value = container === "zip"
      ? await readZip(source, fail)
      : container === "legacy"
      ? readLegacy(source, fail)
      : asCheckpoint(readSafetensors(source, fail));
    checkTree(value, fail);
    return new TorchFile(path, container, value, source);
  } catch (error) {
    source.close();
    throw error;
  }
}

/** Where the metadata says an epoch or architecture, as a training program's checkpoint has them; else the bare dict. */
function asCheckpoint({ tensors, metadata }: SafetensorsContent): TorchValue {
  const [arch, epoch] = [metadata.get("arch"), metadata.get("epoch")];
  if (arch === undefined && epoch === undefined) return new Map(tensors);
  return torchDict([
    ...(epoch !== undefined && /^\d{1,15}$/.test(epoch) ? [["epoch", Number(epoch)] as const] : []),
    ...(arch === undefined ? [] : [["arch", arch] as const]),
    ["state_dict", new Map(tensors)],
  ]);
}

async function openFile(path: string): Promise<Deno.FsFile> {
  try {
    const file = await Deno.open(path);
    if ((await file.stat()).isFile) return file;
    file.close();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new CheckpointError(path, "no such file");
    throw new CheckpointError(path, `cannot be opened: ${(error as Error).message}`, { cause: error });
  }
  throw new CheckpointError(path, "is a folder or device; a checkpoint file was expected");
}

/** `NAME/data.pkl` is the pickle, `NAME/data/KEY` the storages. */
async function readZip(archive: ByteSource, fail: Fail): Promise<unknown> {
  const zip = new ZipReader(archive, fail);
  const pickles = [...zip.entries.values()].filter((entry) => /^([^/]+\/)?data\.pkl$/.test(entry.name));
  if (pickles.length !== 1) {
    const names = [...zip.entries.keys()].slice(0, 5).map((name) => quote(name)).join(", ");
    throw fail(
      `is a zip archive, but not one of torch.save: it has no single data.pkl, but ${names || "nothing"}`,
    );
  }
  const [pickle] = pickles;
  const prefix = pickle.name.slice(0, -"data.pkl".length);
  if (zip.entries.has(`${prefix}constants.pkl`)) {
    throw fail(
      "is a TorchScript program (torch.jit.save); save its weights alone with torch.save(model.state_dict())",
    );
  }
  if (pickle.size > MAX_PICKLE_BYTES) {
    throw fail(`has a pickle of ${pickle.size} bytes, which no checkpoint needs`);
  }
  const byteorder = zip.entries.get(`${prefix}byteorder`);
  if (byteorder !== undefined && byteorder.size === 3) {
    throw fail("was written on a big-endian machine, which is not supported; save it again on another");
  }
  const pickleBytes = new Uint8Array(pickle.size);
  (await zip.open(pickle)).readAt(0, pickleBytes);
  if (pickle.crc32 !== 0 && crc32(pickleBytes) !== pickle.crc32) {
    throw fail(`is damaged: ${quote(pickle.name)} does not match its CRC-32; copy or download it again`);
  }

  const storages = new Map<string, StorageRef>();
  const findStorage = (key: string, dtype: Dtype | undefined, elements: number): StorageView => {
    const bytes = elements * (dtype === undefined ? 1 : DTYPES[dtype].bytes);
    const entry = zip.entries.get(`${prefix}data/${key}`);
    if (entry === undefined) {
      throw fail(`lacks the weights of storage ${quote(key)}: no zip entry data/${key}`);
    }
    if (entry.size < bytes) {
      throw fail(
        `has only ${entry.size} bytes of weights in storage ${quote(key)}, where ${bytes} are needed`,
      );
    }
    const storage = storages.get(key) ??
      { key, dtype, bytes, crc32: entry.crc32, open: () => zip.open(entry) };
    storages.set(key, storage);
    return { storage: checkSameStorage(storage, dtype, bytes, fail), offset: 0 };
  };
  const reader = new ByteReader(new MemorySource(pickleBytes), 0, MAX_PICKLE_BYTES, "the pickle", fail);
  return unpickle(reader, new TorchHost(findStorage, fail), fail);
}

/** Pickles of a magic number, a version, the machine, the value, the storages' names; then the storages. */
function readLegacy(source: ByteSource, fail: Fail): unknown {
  const storages = new Map<string, StorageRef>();
  const starts = new Map<string, number>();
  const findStorage = (
    key: string,
    dtype: Dtype | undefined,
    elements: number,
    view?: readonly unknown[],
  ): StorageView => {
    const bytes = elements * (dtype === undefined ? 1 : DTYPES[dtype].bytes);
    const storage = storages.get(key) ?? {
      key,
      dtype,
      bytes,
      open: () => Promise.resolve(new RangeSource(source, starts.get(key)!, bytes)),
    };
    storages.set(key, storage);
    const [, offset = 0] = view ?? [];
    return { storage: checkSameStorage(storage, dtype, bytes, fail), offset: offset as number };
  };
  const host = new TorchHost(findStorage, fail);
  const reader = new ByteReader(source, 0, MAX_PICKLE_BYTES, "the pickle", fail);
  unpickle(reader, host, fail); // the magic number, which has been compared
  const protocol = unpickle(reader, host, fail);
  if (protocol !== LEGACY_PROTOCOL) {
    throw fail(`has version ${String(protocol)} of the legacy format; only ${LEGACY_PROTOCOL} is known`);
  }
  const machine = unpickle(reader, host, fail);
  if (!(machine instanceof Map) || machine.get("little_endian") !== true) {
    throw fail("was written on a big-endian machine, which is not supported; save it again on another");
  }
  const value = unpickle(reader, host, fail);
  const keys = unpickle(reader, host, fail);
  if (!Array.isArray(keys)) throw fail("is damaged: the list of its storages is missing");

  let position = reader.position;
  for (const name of keys) {
    const key = String(name);
    const storage = storages.get(key);
    if (storage === undefined || starts.has(key)) {
      throw fail(
        `is damaged: its list of storages names ${quote(key)}, which no tensor uses or which came before`,
      );
    }
    const header = new DataView(new ArrayBuffer(8));
    source.readAt(position, new Uint8Array(header.buffer));
    const width = storage.dtype === undefined ? 1 : DTYPES[storage.dtype].bytes;
    const bytes = Number(header.getBigInt64(0, true)) * width;
    if (bytes !== storage.bytes) {
      throw fail(
        `is damaged: storage ${quote(key)} has ${bytes} bytes, where its tensors say ${storage.bytes}`,
      );
    }
    if (position + 8 + bytes > source.size) {
      throw fail(
        `is cut short: storage ${quote(key)} ends ${position + 8 + bytes - source.size} bytes after it`,
      );
    }
    starts.set(key, position + 8);
    position += 8 + bytes;
  }
  const lost = [...storages.keys()].find((key) => !starts.has(key));
  if (lost !== undefined) throw fail(`is damaged: its list of storages lacks ${quote(lost)}`);
  return value;
}

function checkSameStorage(
  storage: StorageRef,
  dtype: Dtype | undefined,
  bytes: number,
  fail: Fail,
): StorageRef {
  if (storage.dtype !== dtype || storage.bytes !== bytes) {
    throw fail(
      `is damaged: storage ${
        quote(storage.key)
      } is both ${storage.bytes} bytes of ${storage.dtype} and ${bytes} ` +
        `bytes of ${dtype}`,
    );
  }
  return storage;
}

/** Refuses what is not a tree of plain data: values that contain themselves, too deep or too many, stray objects. */
function checkTree(value: unknown, fail: Fail): asserts value is TorchValue {
  const counts = new Map<unknown, number>();
  const open = new Set<unknown>();
  const count = (node: unknown): number => {
    if (typeof node !== "object" || node === null) return 1;
    if (node instanceof TensorRef || node instanceof Uint8Array) return 1;
    const known = counts.get(node);
    if (known !== undefined) return known;
    if (open.has(node)) throw fail("its pickle holds a list or dict that contains itself");
    if (open.size >= MAX_DEPTH) throw fail(`its pickle nests more than ${MAX_DEPTH} lists and dicts`);
    open.add(node);
    let sum = 1;
    if (Array.isArray(node)) { for (const item of node) sum += count(item); }
    else if (node instanceof Map) { for (const [key, item] of node) sum += count(key) + count(item); }
    else {throw fail(
        "its pickle holds something that is neither plain data nor a tensor, e.g. a class or a bare storage",
      );}
    if (sum > MAX_TREE_VALUES) throw fail(`its pickle unfolds to more than ${MAX_TREE_VALUES} values`);
    open.delete(node);
    counts.set(node, sum);
    return sum;
  };
  count(value);
}
