/**
 * The container of `torch.save` since PyTorch 1.6: a zip archive in which `NAME/data.pkl` is the pickle of the value
 * and `NAME/data/KEY` are the storages of its tensors.
 */
import { crc32 } from "node:zlib";
import { ByteReader, type ByteSource, MemorySource } from "./byte_source.ts";
import { type Fail, quote } from "./checkpoint_error.ts";
import type { Dtype } from "./dtype.ts";
import type { StorageRef } from "./tensor_ref.ts";
import { type StorageView, TorchHost } from "./torch_globals.ts";
import { checkSameStorage, MAX_PICKLE_BYTES, storageBytes } from "./torch_storage.ts";
import { unpickle } from "./unpickle.ts";
import { ZipReader } from "./zip_reader.ts";

/** Whether a file begins as zip archives do. */
export function looksLikeZip(head: Uint8Array): boolean {
  return head[0] === 0x50 && head[1] === 0x4b;
}

/** Reads the structure; the tensors stay in the archive. */
export async function readTorchZip(archive: ByteSource, fail: Fail): Promise<unknown> {
  const zip = new ZipReader(archive, fail);
  const pickles = [...zip.entries.values()].filter((entry) => /^([^/]+\/)?data\.pkl$/.test(entry.name));
  if (pickles.length !== 1) {
    const names = [...zip.entries.keys()].slice(0, 5).map((name) => quote(name)).join(", ");
    throw fail(
      `is a zip archive, but not one of torch.save: expected one data.pkl, found ${names || "nothing"}`,
    );
  }
  const [pickle] = pickles;
  const prefix = pickle.name.slice(0, -"data.pkl".length);
  if (zip.entries.has(`${prefix}constants.pkl`)) {
    throw fail(
      "is a TorchScript program (torch.jit.save); save only its weights with torch.save(model.state_dict())",
    );
  }
  if (pickle.size > MAX_PICKLE_BYTES) {
    throw fail(`has a pickle of ${pickle.size} bytes, which is too much for a checkpoint`);
  }
  const byteorder = zip.entries.get(`${prefix}byteorder`);
  if (byteorder !== undefined && byteorder.size === 3) {
    throw fail(
      "was written on a big-endian machine, which is not supported; save it again on a little-endian one",
    );
  }
  const pickleBytes = new Uint8Array(pickle.size);
  (await zip.open(pickle)).readAt(0, pickleBytes);
  if (pickle.crc32 !== 0 && crc32(pickleBytes) !== pickle.crc32) {
    throw fail(`is damaged: ${quote(pickle.name)} does not match its CRC-32; copy or download it again`);
  }

  const storages = new Map<string, StorageRef>();
  let inflated = 0;
  const findStorage = (key: string, dtype: Dtype | undefined, elements: number): StorageView => {
    const bytes = storageBytes(dtype, elements);
    const entry = zip.entries.get(`${prefix}data/${key}`);
    if (entry === undefined) {
      throw fail(`lacks the weights of storage ${quote(key)}: no zip entry data/${key}`);
    }
    if (entry.size < bytes) {
      throw fail(
        `has only ${entry.size} bytes of weights in storage ${quote(key)}, but ${bytes} are needed`,
      );
    }
    const isPacked = entry.method !== 0;
    if (isPacked && !storages.has(key)) {
      // Each may be reasonable, and all together not.
      inflated += bytes;
      zip.checkInflated(inflated, archive.size, "weights", 8);
    }
    const storage = storages.get(key) ?? {
      key,
      dtype,
      bytes,
      // Of a part there is no sum.
      crc32: isPacked && bytes < entry.size ? 0 : entry.crc32,
      open: () => zip.open(entry, bytes),
    };
    storages.set(key, storage);
    return { storage: checkSameStorage(storage, dtype, bytes, fail), offset: 0 };
  };
  const reader = new ByteReader(new MemorySource(pickleBytes), 0, MAX_PICKLE_BYTES, "the pickle", fail);
  return unpickle(reader, new TorchHost(findStorage, fail), fail);
}
