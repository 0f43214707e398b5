/** What a checkpoint may hold, as read and as written. */
import { elementCount } from "../../kernels/graph.ts";
import { type Dtype, DTYPES, type RawArray } from "./dtype.ts";
import type { TensorRef } from "./tensor_ref.ts";

/**
 * A tree of Python's plain data.
 *
 * | Python | read | written from |
 * | --- | --- | --- |
 * | None, bool, str | `null`, `boolean`, `string` | the same |
 * | int | `number`; `bigint` where a number would round | a whole `number`, `bigint` |
 * | float | `number` | {@linkcode PyFloat}; a `number` with a fraction, NaN and infinities |
 * | dict | `Map`, in the file's order | `Map` |
 * | OrderedDict | {@linkcode OrderedDict} | {@linkcode OrderedDict} |
 * | list | array | array |
 * | tuple, set, torch.Size | array | not written |
 * | bytes | `Uint8Array` | not written |
 * | tensor, parameter | {@linkcode TensorRef} | {@linkcode TensorValue}, or {@linkcode TensorRef} to copy one |
 */
export type TorchValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PyFloat
  | TensorRef
  | TensorValue
  | TorchValue[]
  | Map<TorchValue, TorchValue>;

/** A dict of Python, by any keys. */
export type TorchDict = Map<TorchValue, TorchValue>;

/** A dict to be written: `torchDict([["epoch", 3], ["lr", new PyFloat(1)]])`. */
export function torchDict(entries: readonly (readonly [TorchValue, TorchValue])[]): TorchDict {
  return new Map(entries);
}

/** Python's `collections.OrderedDict`, which PyTorch's state_dicts are. */
export class OrderedDict extends Map<TorchValue, TorchValue> {
  /**
   * What this project keeps of its attributes, beside PyTorch's own in `_metadata`: see `saved_input.ts`. Modules that load
   * the dict do not look at it.
   */
  input?: TorchValue;
}

/** A number that is written as a Python float even where it is whole: `new PyFloat(30)` is `30.0`. */
export class PyFloat {
  /** The number. */
  readonly value: number;
  /** Any number, whole or not. */
  constructor(value: number) {
    this.value = value;
  }
}

/** A tensor in memory, to be written. Two of them with the same `data` object share one storage in the file. */
export class TensorValue {
  /** Element type in the file. */
  readonly dtype: Dtype;
  /** As PyTorch has it; empty for a scalar. */
  readonly shape: readonly number[];
  /** Elements in row-major order. */
  readonly data: RawArray;

  /**
   * Checks that data and shape belong together.
   *
   * @param data as {@linkcode RawArray} says for the dtype
   * @throws Error where data and shape do not belong together: a bug of the caller
   */
  constructor(dtype: Dtype, shape: readonly number[], data: RawArray) {
    const size = elementCount(shape);
    if (!(data instanceof DTYPES[dtype].Raw) || data.length !== size) {
      throw new Error(
        `a ${dtype} tensor of shape [${shape}] needs a ${
          DTYPES[dtype].Raw.name
        } of ${size} elements, not a ` +
          `${data.constructor.name} of ${data.length}`,
      );
    }
    this.dtype = dtype;
    this.shape = shape;
    this.data = data;
  }
}
