/** What the two containers of `torch.save` have in common. */
import { type Fail, quote } from "./checkpoint_error.ts";
import { type Dtype, DTYPES } from "./dtype.ts";
import type { StorageRef } from "./tensor_ref.ts";

/** Far more than the structure of any model takes; the weights are not in the pickle. */
export const MAX_PICKLE_BYTES = 64 * 2 ** 20;

/** Bytes of a storage; one without an element type counts bytes. */
export function storageBytes(dtype: Dtype | undefined, elements: number): number {
  return elements * (dtype === undefined ? 1 : DTYPES[dtype].bytes);
}

/** The storage, if another tensor that names it says the same of it. */
export function checkSameStorage(
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
