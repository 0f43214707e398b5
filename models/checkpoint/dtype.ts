/** PyTorch's element types: their sizes, names in files, JavaScript arrays, and conversion to float32. */

/** Element types that checkpoints may hold. Complex and quantised tensors are not among them. */
export type Dtype =
  | "float32"
  | "float64"
  | "float16"
  | "bfloat16"
  | "int64"
  | "int32"
  | "int16"
  | "int8"
  | "uint8"
  | "bool";

/** A tensor's elements as they lie in the file. 16-bit floats come as their bits, bool as one byte each. */
export type RawArray =
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>;

/** Makes a {@linkcode RawArray}. */
export interface RawArrayConstructor {
  /** Zeros. */
  new (length: number): RawArray;
  /** A view of memory. */
  new (buffer: ArrayBuffer, byteOffset?: number, length?: number): RawArray;
}

/** What is known of one element type. */
export interface DtypeInfo {
  /** Bytes of one element. */
  readonly bytes: number;
  /** Name of PyTorch's storage class, e.g. `FloatStorage`. */
  readonly storage: string;
  /** The array that holds elements of this type, see {@linkcode RawArray}. */
  readonly Raw: RawArrayConstructor;
}

/** Every supported element type. */
export const DTYPES: Readonly<Record<Dtype, DtypeInfo>> = {
  float32: { bytes: 4, storage: "FloatStorage", Raw: Float32Array },
  float64: { bytes: 8, storage: "DoubleStorage", Raw: Float64Array },
  float16: { bytes: 2, storage: "HalfStorage", Raw: Uint16Array },
  bfloat16: { bytes: 2, storage: "BFloat16Storage", Raw: Uint16Array },
  int64: { bytes: 8, storage: "LongStorage", Raw: BigInt64Array },
  int32: { bytes: 4, storage: "IntStorage", Raw: Int32Array },
  int16: { bytes: 2, storage: "ShortStorage", Raw: Int16Array },
  int8: { bytes: 1, storage: "CharStorage", Raw: Int8Array },
  uint8: { bytes: 1, storage: "ByteStorage", Raw: Uint8Array },
  bool: { bytes: 1, storage: "BoolStorage", Raw: Uint8Array },
};

/** Whether an element type is for weights, rather than for counters. */
export function isFloatingPoint(dtype: Dtype): boolean {
  return dtype.includes("float");
}

/** The element type of a storage class, e.g. `HalfStorage`; `undefined` for classes that are not supported. */
export function dtypeOfStorage(storage: string): Dtype | undefined {
  return (Object.keys(DTYPES) as Dtype[]).find((dtype) => DTYPES[dtype].storage === storage);
}

/** Writes `raw`, elements of `dtype`, as float32 into `into` from index `at` on. */
export function convertToFloat32(dtype: Dtype, raw: RawArray, into: Float32Array, at = 0): void {
  if (raw instanceof BigInt64Array) {
    for (let i = 0; i < raw.length; i++) into[at + i] = Number(raw[i]);
  } else if (dtype === "float16") {
    into.set(new Float16Array(raw.buffer, raw.byteOffset, raw.length), at);
  } else if (dtype === "bfloat16") {
    // bfloat16 is the upper half of a float32.
    const bits = new Uint32Array(into.buffer, into.byteOffset, into.length);
    for (let i = 0; i < raw.length; i++) bits[at + i] = raw[i] << 16;
  } else if (dtype === "bool") {
    for (let i = 0; i < raw.length; i++) into[at + i] = raw[i] === 0 ? 0 : 1;
  } else {
    into.set(raw, at);
  }
}
