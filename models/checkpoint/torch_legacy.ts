/**
 * The container of `torch.save` before PyTorch 1.6: pickles of a magic number, a version, the machine, the value, and
 * the names of its tensors' storages; then these storages, each behind its length.
 */
import { ByteReader, type ByteSource, decodeLatin1, RangeSource } from "./byte_source.ts";
import { describe, type Fail, quote } from "./checkpoint_error.ts";
import type { Dtype } from "./dtype.ts";
import { ReadBudget } from "./read_budget.ts";
import type { StorageRef } from "./tensor_ref.ts";
import { type StorageView, TorchHost } from "./torch_globals.ts";
import { checkSameStorage, MAX_PICKLE_BYTES, storageBytes } from "./torch_storage.ts";
import { unpickle } from "./unpickle.ts";

/**
 * A pickle of PyTorch's magic number 0x1950a86a20f9469cfc6c. Protocol 1 writes it in decimal; protocols 2 to 5 as PROTO
 * and LONG1 of 10 bytes, from protocol 4 on in a FRAME. `torch.save` cannot write protocol 0.
 */
const START =
  // deno-lint-ignore no-control-regex -- these are bytes
  /^(L119547037146038801333356L\n|\x80[\x02-\x05](\x95[^]{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19)\./;
const PROTOCOL = 1001;

/** Whether a file begins with the magic number, in any protocol of pickle that `torch.save` writes. */
export function looksLikeTorchLegacy(head: Uint8Array): boolean {
  return START.test(decodeLatin1(head.subarray(0, 64)));
}

/** Reads the structure; the tensors stay in the file. */
export function readTorchLegacy(source: ByteSource, fail: Fail): unknown {
  const storages = new Map<string, StorageRef>();
  const starts = new Map<string, number>();
  const findStorage = (
    key: string,
    dtype: Dtype | undefined,
    elements: number,
    view?: readonly unknown[],
  ): StorageView => {
    const bytes = storageBytes(dtype, elements);
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
  const budget = new ReadBudget(fail);
  const reader = new ByteReader(source, 0, MAX_PICKLE_BYTES, "the pickle", fail);
  unpickle(reader, host, fail, budget); // the magic number, which has been compared
  const protocol = unpickle(reader, host, fail, budget);
  if (protocol !== PROTOCOL) {
    throw fail(`has version ${describe(protocol)} of the legacy format; only ${PROTOCOL} is supported`);
  }
  const machine = unpickle(reader, host, fail, budget);
  if (!(machine instanceof Map) || machine.get("little_endian") !== true) {
    throw fail(
      "was written on a big-endian machine, which is not supported; save it again on a little-endian one",
    );
  }
  const value = unpickle(reader, host, fail, budget);
  const keys = unpickle(reader, host, fail, budget);
  if (!Array.isArray(keys)) throw fail("is damaged: the list of its storages is missing");

  let position = reader.position;
  for (const name of keys) {
    const key = typeof name === "number" ? String(name) : name;
    const storage = typeof key === "string" ? storages.get(key) : undefined;
    if (storage === undefined || starts.has(key)) {
      throw fail(
        `is damaged: its list of storages has ${describe(name)}, which no tensor uses or which occurs twice`,
      );
    }
    const header = new DataView(new ArrayBuffer(8));
    source.readAt(position, new Uint8Array(header.buffer));
    const bytes = storageBytes(storage.dtype, Number(header.getBigInt64(0, true)));
    if (bytes !== storage.bytes) {
      throw fail(
        `is damaged: storage ${quote(key)} has ${bytes} bytes, but its tensors need ${storage.bytes}`,
      );
    }
    if (position + 8 + bytes > source.size) {
      throw fail(
        `is truncated: storage ${quote(key)} ends ${position + 8 + bytes - source.size} bytes after its end`,
      );
    }
    starts.set(key, position + 8);
    position += 8 + bytes;
  }
  const lost = [...storages.keys()].find((key) => !starts.has(key));
  if (lost !== undefined) throw fail(`is damaged: its list of storages lacks ${quote(lost)}`);
  return value;
}
