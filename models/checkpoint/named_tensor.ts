/** Tensors on the host that a checkpoint is written of. */
import type { Dtype, RawArray } from "./dtype.ts";

/** A tensor with its plain key, e.g. `layer1.0.conv1.weight`, in PyTorch's layout (OIHW). */
export interface NamedTensor {
  /** Plain key. */
  readonly key: string;
  /** `float32` where nothing is said. */
  readonly dtype?: Dtype;
  /** In PyTorch's layout. */
  readonly shape: readonly number[];
  /** Elements in row-major order. */
  readonly data: RawArray;
}

/** Whether a key is of a batch norm's counter of batches. */
export function isCounter(key: string): boolean {
  return /(^|\.)num_batches_tracked$/.test(key);
}
