/** Writes Python pickles of plain data and tensors: protocol 2, the instructions that every `torch.load` reads. */
import { elementCount } from "../../kernels/graph.ts";
import { type Dtype, DTYPES } from "./dtype.ts";
import { TensorRef } from "./tensor_ref.ts";
import { INPUT_KEY } from "./saved_input.ts";
import { OrderedDict, PyFloat, TensorValue, torchDict, type TorchValue } from "./torch_value.ts";

/** Deeper trees are taken for values that contain themselves. */
const MAX_DEPTH = 100;

/** Gives the name under which a tensor's elements are stored. */
export type StoreTensor = (tensor: TensorValue | TensorRef) => string;

/**
 * Pickles `value`.
 *
 * @param store is told every tensor and names its storage, which must hold its elements in row-major order
 * @throws Error for values that Python has no place for here (see {@linkcode TorchValue}): a bug of the caller
 */
export function pickle(value: TorchValue, store: StoreTensor): Uint8Array<ArrayBuffer> {
  const pickler = new Pickler(store);
  pickler.write(value, 0);
  return pickler.finish();
}

class Pickler {
  readonly #store: StoreTensor;
  readonly #memo = new Map<string, number>();
  #bytes = new Uint8Array(1 << 12);
  #length = 0;

  constructor(store: StoreTensor) {
    this.#store = store;
    this.#emit(0x80, 2); // PROTO
  }

  finish(): Uint8Array<ArrayBuffer> {
    this.#emit(0x2e); // STOP
    return this.#bytes.slice(0, this.#length);
  }

  write(value: TorchValue, depth: number): void {
    if (depth > MAX_DEPTH) throw new Error(`a checkpoint value nests more than ${MAX_DEPTH} levels`);
    if (value === null) this.#emit(0x4e); // NONE
    else if (typeof value === "boolean") this.#emit(value ? 0x88 : 0x89); // NEWTRUE, NEWFALSE
    else if (typeof value === "bigint" || Number.isSafeInteger(value)) {
      this.#int(BigInt(value as number | bigint));
    } else if (typeof value === "number") this.#float(value);
    else if (value instanceof PyFloat) this.#float(value.value);
    else if (typeof value === "string") this.#text(value);
    else if (value instanceof TensorValue || value instanceof TensorRef) this.#tensor(value);
    else if (value instanceof Map) this.#dict(value, depth);
    else if (Array.isArray(value)) {
      this.#emit(0x5d, 0x28); // EMPTY_LIST, MARK
      for (const item of value) this.write(item, depth + 1);
      this.#emit(0x65); // APPENDS
    } else throw new Error(`a checkpoint cannot hold ${Deno.inspect(value)}`);
  }

  #dict(dict: Map<TorchValue, TorchValue>, depth: number): void {
    if (dict instanceof OrderedDict) this.#emptyOrderedDict();
    else this.#emit(0x7d); // EMPTY_DICT
    this.#emit(0x28); // MARK
    for (const [key, item] of dict) {
      if (typeof key === "object" && key !== null) {
        throw new Error(`expected a plain value as a checkpoint's key, found ${Deno.inspect(key)}`);
      }
      this.write(key, depth + 1);
      this.write(item, depth + 1);
    }
    this.#emit(0x75); // SETITEMS
    if (!(dict instanceof OrderedDict) || dict.input === undefined) return;
    const metadata = new OrderedDict([[INPUT_KEY, dict.input]]);
    this.write(torchDict([["_metadata", metadata]]), depth + 1);
    this.#emit(0x62); // BUILD
  }

  /** `_rebuild_tensor_v2(storage, 0, shape, stride, requires_grad = False, hooks = OrderedDict())`. */
  #tensor(tensor: TensorValue | TensorRef): void {
    const size = elementCount(tensor.shape);
    this.#global("torch._utils", "_rebuild_tensor_v2");
    this.#emit(0x28, 0x28); // MARK, MARK
    this.#text("storage");
    this.#storageClass(tensor.dtype);
    this.#text(this.#store(tensor));
    this.#text("cpu");
    this.#int(BigInt(size));
    this.#emit(0x74, 0x51); // TUPLE, BINPERSID
    this.#int(0n);
    this.#tuple(tensor.shape);
    this.#tuple(
      tensor.shape.map((_, d) => tensor.shape.slice(d + 1).reduce((a, b) => a * Math.max(b, 1), 1)),
    );
    this.#emit(0x89); // NEWFALSE
    this.#emptyOrderedDict();
    this.#emit(0x74, 0x52); // TUPLE, REDUCE
  }

  #storageClass(dtype: Dtype): void {
    this.#global("torch", DTYPES[dtype].storage);
  }

  #emptyOrderedDict(): void {
    this.#global("collections", "OrderedDict");
    this.#emit(0x29, 0x52); // EMPTY_TUPLE, REDUCE
  }

  #tuple(items: readonly number[]): void {
    if (items.length === 0) return this.#emit(0x29); // EMPTY_TUPLE
    this.#emit(0x28); // MARK
    for (const item of items) this.#int(BigInt(item));
    this.#emit(0x74); // TUPLE
  }

  #int(value: bigint): void {
    if (value >= 0n && value < 256n) return this.#emit(0x4b, Number(value)); // BININT1
    if (value >= 0n && value < 65536n) return this.#emit(0x4d, Number(value & 255n), Number(value >> 8n)); // BININT2
    const bytes: number[] = [];
    const isShort = value === BigInt.asIntN(32, value);
    let rest = value;
    // Little-endian two's complement, with a sign bit.
    while (
      isShort ? bytes.length < 4 : rest !== 0n && rest !== -1n || (bytes.at(-1)! >= 128) !== value < 0n
    ) {
      bytes.push(Number(BigInt.asUintN(8, rest)));
      rest >>= 8n;
    }
    if (bytes.length > 255) throw new Error(`a checkpoint cannot hold an integer of ${bytes.length} bytes`);
    if (isShort) this.#emit(0x4a, ...bytes); // BININT
    else this.#emit(0x8a, bytes.length, ...bytes); // LONG1
  }

  #float(value: number): void {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value);
    this.#emit(0x47, ...new Uint8Array(view.buffer)); // BINFLOAT
  }

  #text(text: string): void {
    this.#remembered(`text ${text}`, () => {
      const bytes = new TextEncoder().encode(text);
      this.#emit(0x58, ...uint32(bytes.length)); // BINUNICODE
      this.#append(bytes);
    });
  }

  #global(module: string, name: string): void {
    this.#remembered(`global ${module} ${name}`, () => {
      this.#emit(0x63); // GLOBAL
      this.#append(new TextEncoder().encode(`${module}\n${name}\n`));
    });
  }

  /** Writes a constant the first time, and refers to it later. */
  #remembered(key: string, write: () => void): void {
    const known = this.#memo.get(key);
    const index = known ?? this.#memo.size;
    if (known === undefined) {
      write();
      this.#memo.set(key, index);
    }
    const [short, long] = known === undefined ? [0x71, 0x72] : [0x68, 0x6a]; // (LONG_)BINPUT, (LONG_)BINGET
    if (index < 256) this.#emit(short, index);
    else this.#emit(long, ...uint32(index));
  }

  #emit(...bytes: number[]): void {
    this.#append(bytes);
  }

  #append(bytes: ArrayLike<number>): void {
    if (this.#length + bytes.length > this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#bytes.length + bytes.length);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }
}

function uint32(value: number): [number, number, number, number] {
  return [value & 255, value >>> 8 & 255, value >>> 16 & 255, value >>> 24];
}
