/** A tensor that lies in a checkpoint file: known by shape, read when asked for. */
import { crc32 } from "node:zlib";
import { elementCount } from "../../kernels/graph.ts";
import { type ByteSource, JoinedSource, MemorySource, RangeSource } from "./byte_source.ts";
import { CheckpointError, type Fail, quote } from "./checkpoint_error.ts";
import { convertToFloat32, type Dtype, DTYPES, type RawArray } from "./dtype.ts";

/** Bytes that are read and converted at a time. */
const CHUNK_BYTES = 1 << 20;
/** Elements of a piece, see {@linkcode TensorRef.pieces}. */
const PIECE_ELEMENTS = 1 << 22;
/** PyTorch's own limit. */
const MAX_DIMENSIONS = 64;
/** Elements that a tensor may repeat from a smaller storage (`expand`); more is a bomb, not a weight. */
const MAX_EXPANDED_ELEMENTS = 1 << 20;
/** Storages that were found to match their CRC-32: whatever parts of one are read, the sum is computed once. */
const verified = new WeakSet<StorageRef>();

/** The memory of one or several tensors, in the file. */
export interface StorageRef {
  /** Name in the file, e.g. `12`. */
  readonly key: string;
  /** Element type; `undefined` for untyped storages, whose tensors say it. */
  readonly dtype: Dtype | undefined;
  /** Bytes that tensors may use. */
  readonly bytes: number;
  /** CRC-32 of all the bytes, where the file has one. */
  readonly crc32?: number;
  /** Where to read. */
  open(): Promise<ByteSource>;
}

/** How a tensor lies in its storage. */
export interface TensorLayout {
  /** Element type. */
  readonly dtype: Dtype;
  /** Row-major, as PyTorch has it; empty for a scalar. */
  readonly shape: readonly number[];
  /** Elements from one index to the next, per dimension. */
  readonly stride: readonly number[];
  /** Element of the storage at which the tensor starts. */
  readonly offset: number;
}

/**
 * A tensor in a checkpoint file. Its shape, stride and offset are known to fit its storage.
 *
 * Nothing is kept: each read goes to the file, for the bytes of this tensor alone (a stored entry; a compressed one
 * has to be inflated whole).
 */
export class TensorRef implements TensorLayout {
  /** Element type in the file. */
  readonly dtype: Dtype;
  /** As PyTorch has it; empty for a scalar. */
  readonly shape: readonly number[];
  readonly stride: readonly number[];
  readonly offset: number;
  /** Number of elements. */
  readonly size: number;
  /** Name of the storage in the file; tensors that share memory have the same one. */
  readonly key: string;
  readonly #storage: StorageRef;
  readonly #fail: Fail;

  /**
   * Checks that the tensor fits its storage.
   *
   * @throws CheckpointError where the layout does not fit the storage; nothing is allocated for it
   */
  constructor(storage: StorageRef, layout: TensorLayout, fail: Fail) {
    this.dtype = layout.dtype;
    this.shape = layout.shape;
    this.stride = layout.stride;
    this.offset = layout.offset;
    this.key = storage.key;
    this.#storage = storage;
    this.#fail = fail;
    this.size = checkLayout(storage, layout, fail);
  }

  /** `true` where the elements lie in row-major order without gaps. */
  get isContiguous(): boolean {
    return isContiguous(this);
  }

  /** Whether the elements fill a part of the storage in some order of the dimensions: transposed tensors do. */
  get #hasNoGaps(): boolean {
    const order = this.stride.map((_, d) => d).sort((a, b) => this.stride[b] - this.stride[a]);
    const layout = { shape: order.map((d) => this.shape[d]), stride: order.map((d) => this.stride[d]) };
    return isContiguous(layout);
  }

  /** A tensor that no file has, of these values. */
  static of(values: Float32Array<ArrayBuffer>, shape: readonly number[]): TensorRef {
    const storage: StorageRef = {
      key: "",
      dtype: "float32",
      bytes: values.byteLength,
      open: () => Promise.resolve(new MemorySource(new Uint8Array(values.buffer))),
    };
    const layout = { dtype: "float32", shape, stride: rowMajor(shape), offset: 0 } as const;
    return new TensorRef(storage, layout, (problem) => new CheckpointError("tensor", problem));
  }

  /**
   * The same elements in the same order, as a tensor of another shape.
   *
   * @throws CheckpointError where it has not so many elements
   */
  reshaped(shape: readonly number[]): TensorRef {
    const { dtype } = this;
    const storage: StorageRef = {
      key: this.key,
      dtype,
      bytes: this.size * DTYPES[dtype].bytes,
      open: () => this.#bytesAs(dtype),
    };
    return new TensorRef(storage, { dtype, shape, stride: rowMajor(shape), offset: 0 }, this.#fail);
  }

  /**
   * Tensors one behind the other, as one: what one file has in parts and another as a whole. Nothing is read for it.
   *
   * @param parts of one size in all dimensions but the first one that is larger than 1; `zeros` gives the elements of a
   * part that no file has. At least one is a tensor.
   * @throws CheckpointError where their shapes do not go together
   */
  static join(parts: readonly (TensorRef | { readonly zeros: readonly number[] })[]): TensorRef {
    const first = parts.find((part) => part instanceof TensorRef)!;
    const dtypes = new Set(parts.flatMap((part) => part instanceof TensorRef ? [part.dtype] : []));
    const dtype = dtypes.size === 1 ? first.dtype : "float32";
    const width = DTYPES[dtype].bytes;
    const shapes = parts.map((part) => part instanceof TensorRef ? part.shape : part.zeros);
    const axis = Math.max(0, first.shape.findIndex((_, d) => shapes.some((shape) => shape[d] !== 1)));
    const rows = shapes.reduce((sum, shape) => sum + shape[axis], 0);
    const shape = first.shape.with(axis, rows);
    if (shapes.reduce((sum, part) => sum + elementCount(part), 0) !== elementCount(shape)) {
      throw first.#fail(
        `has tensors of shapes ${shapes.map((part) => `[${part}]`).join(", ")} that should be parts of one`,
      );
    }
    const storage: StorageRef = {
      key: parts.flatMap((part) => part instanceof TensorRef ? [part.key] : []).join("+"),
      dtype,
      bytes: elementCount(shape) * width,
      open: async () =>
        new JoinedSource(
          await Promise.all(parts.map((part) =>
            part instanceof TensorRef
              ? part.#bytesAs(dtype)
              : new MemorySource(new Uint8Array(elementCount(part.zeros) * width))
          )),
        ),
    };
    return new TensorRef(storage, { dtype, shape, stride: rowMajor(shape), offset: 0 }, first.#fail);
  }

  /** Where the elements can be read in row-major order; they are converted in memory where the file has them otherwise. */
  async #bytesAs(dtype: Dtype): Promise<ByteSource> {
    const width = DTYPES[dtype].bytes;
    if (dtype === this.dtype && this.isContiguous) {
      const source = await this.#storage.open();
      this.#verify(source);
      return new RangeSource(source, this.offset * width, this.size * width);
    }
    const { buffer } = dtype === this.dtype ? await this.readRaw() : await this.read();
    return new MemorySource(new Uint8Array(buffer));
  }

  /**
   * Some rows of the tensor, as a tensor of their own: indices `first` to `first + count` of the first dimension.
   *
   * @throws RangeError where it has no such rows: a bug of the caller
   */
  narrow(first: number, count: number): TensorRef {
    const [rows = 0, ...rest] = this.shape;
    if (first < 0 || count < 0 || first + count > rows) {
      throw new RangeError(`rows ${first} to ${first + count} of a tensor of shape [${this.shape}]`);
    }
    const offset = this.offset + first * (this.stride[0] ?? 0);
    const layout = { dtype: this.dtype, shape: [count, ...rest], stride: this.stride, offset };
    return new TensorRef(this.#storage, layout, this.#fail);
  }

  /**
   * The elements in row-major order as float32. int64 and float64 are rounded to it, bool becomes 0 and 1.
   *
   * @throws CheckpointError where the storage, also of a part, does not match the CRC-32 that the file has of it
   */
  async read(): Promise<Float32Array<ArrayBuffer>> {
    const values = this.#allocate(Float32Array, this.size);
    if (this.dtype === "float32" && this.isContiguous) {
      await this.#readElements(this.offset, values, () => {});
    } else if (this.isContiguous) {
      await this.#readElements(
        this.offset,
        undefined,
        (chunk, at) => convertToFloat32(this.dtype, chunk, values, at),
      );
    } else {
      convertToFloat32(this.dtype, await this.readRaw(), values);
    }
    return values;
  }

  /**
   * All elements as float32, some at a time and in any order, so that a long tensor is not whole in memory as float32, and
   * one without gaps not at all. Its storage's CRC-32 is checked first.
   */
  async *pieces(): AsyncGenerator<Float32Array<ArrayBuffer>> {
    if (this.size <= PIECE_ELEMENTS) return yield await this.read();
    if (!this.#hasNoGaps) {
      const raw = await this.readRaw();
      for (let at = 0; at < raw.length; at += PIECE_ELEMENTS) {
        const part = raw.subarray(at, at + PIECE_ELEMENTS);
        const values = new Float32Array(part.length);
        convertToFloat32(this.dtype, part, values);
        yield values;
      }
      return;
    }
    for (let at = 0; at < this.size; at += PIECE_ELEMENTS) {
      const shape = [Math.min(PIECE_ELEMENTS, this.size - at)];
      const layout = { dtype: this.dtype, shape, stride: [1], offset: this.offset + at };
      yield await new TensorRef(this.#storage, layout, this.#fail).read();
    }
  }

  /** The elements in row-major order as they are in the file, e.g. a BigInt64Array of an int64 tensor. Throws likewise. */
  async readRaw(): Promise<RawArray> {
    const { Raw } = DTYPES[this.dtype];
    const values = this.#allocate(Raw, this.size);
    if (this.isContiguous) {
      await this.#readElements(this.offset, values, () => {});
      return values;
    }
    if (this.size === 0) return values;
    const span = this.shape.reduce((sum, dim, d) => sum + (dim - 1) * this.stride[d], 1);
    const source = this.#allocate(Raw, span);
    await this.#readElements(this.offset, source, () => {});
    gather(source, values, this.shape, this.stride);
    return values;
  }

  /**
   * Reads as many elements as `into` has, or as the tensor has, from `start` on; hands on each piece as it comes.
   * The CRC-32 of the storage is checked on the way where that is the whole of it, and else before.
   */
  async #readElements(
    start: number,
    into: RawArray | undefined,
    take: (chunk: RawArray, at: number) => void,
  ): Promise<void> {
    const { Raw, bytes: width } = DTYPES[this.dtype];
    const count = into?.length ?? this.size;
    if (count === 0) return;
    const source = await this.#storage.open();
    const isWhole = start === 0 && count * width === source.size;
    if (!isWhole) this.#verify(source);
    let crc = 0;
    const step = CHUNK_BYTES / width;
    const chunkBuffer = into?.buffer ?? new ArrayBuffer(Math.min(step, count) * width);
    for (let at = 0; at < count; at += step) {
      const length = Math.min(step, count - at);
      const bytes = new Uint8Array(chunkBuffer, into === undefined ? 0 : at * width, length * width);
      source.readAt((start + at) * width, bytes);
      if (isWhole) crc = crc32(bytes, crc);
      if (into === undefined) take(new Raw(chunkBuffer, 0, length), at);
    }
    if (isWhole) this.#checkSum(crc);
  }

  /** Checks the whole storage, which `source` is, against its CRC-32. */
  #verify(source: ByteSource): void {
    if (!this.#storage.crc32 || verified.has(this.#storage)) return;
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, source.size));
    let crc = 0;
    for (let at = 0; at < source.size; at += chunk.length) {
      const bytes = chunk.subarray(0, source.size - at);
      source.readAt(at, bytes);
      crc = crc32(bytes, crc);
    }
    this.#checkSum(crc);
  }

  #checkSum(crc: number): void {
    // Writers that do not compute the sum leave 0.
    const { crc32: expected = 0 } = this.#storage;
    if (expected !== 0 && crc !== expected) {
      throw this.#fail(
        `is damaged: the weights in storage ${
          quote(this.key)
        } do not match their CRC-32; copy or download it again`,
      );
    }
    verified.add(this.#storage);
  }

  #allocate<T>(constructor: new (length: number) => T, length: number): T {
    try {
      return new constructor(length);
    } catch {
      throw this.#fail(`needs more memory than is available for a tensor of shape [${this.shape}]`);
    }
  }
}

/** Strides of a tensor without gaps. */
export function rowMajor(shape: readonly number[]): number[] {
  const stride = new Array<number>(shape.length);
  let step = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    stride[d] = step;
    step *= shape[d];
  }
  return stride;
}

function isContiguous({ shape, stride }: Pick<TensorLayout, "shape" | "stride">): boolean {
  let expected = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    if (shape[d] !== 1 && stride[d] !== expected) return false;
    expected *= shape[d];
  }
  return true;
}

/** Returns the number of elements. */
function checkLayout(storage: StorageRef, layout: TensorLayout, fail: Fail): number {
  const { dtype, shape, stride, offset } = layout;
  const wrong = (how: string): CheckpointError =>
    fail(
      `has a tensor in storage ${quote(storage.key)} ${how} (shape [${shape}], stride [${stride}], offset ` +
        `${offset}, ${dtype}); the file is damaged or malformed`,
    );
  if (shape.length > MAX_DIMENSIONS) throw fail(`has a tensor of ${shape.length} dimensions`);
  if (stride.length > MAX_DIMENSIONS) throw fail(`has a tensor of ${stride.length} strides`);
  const isIndex = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  if (shape.length !== stride.length || ![...shape, ...stride, offset].every(isIndex)) {
    throw wrong("whose shape, stride and offset are not integers that fit together");
  }
  const size = elementCount(shape);
  const elements = Math.floor(storage.bytes / DTYPES[dtype].bytes);
  if (shape.includes(0)) return 0;
  const last = shape.reduce((sum, dim, d) => sum + (dim - 1) * stride[d], offset);
  if (last >= elements) {
    throw wrong(`that reaches element ${last}, but the storage has ${elements} elements`);
  }
  if (size > Math.max(elements, MAX_EXPANDED_ELEMENTS)) {
    throw wrong(`that repeats the ${elements} elements of its storage to ${size}`);
  }
  return size;
}

/** Copies a strided view, whose first element is `source[0]`, into row-major order. */
function gather(
  source: RawArray,
  into: RawArray,
  shape: readonly number[],
  stride: readonly number[],
): void {
  const index = new Array<number>(shape.length).fill(0);
  let from = 0;
  for (let i = 0; i < into.length; i++) {
    into[i] = source[from];
    for (let d = shape.length - 1; d >= 0; d--) {
      from += stride[d];
      if (++index[d] < shape[d]) break;
      from -= shape[d] * stride[d];
      index[d] = 0;
    }
  }
}
