/**
 * The safetensors container: eight bytes with the length of a JSON header (little-endian), the header, then the
 * tensors' bytes. The header has for each name `dtype`, `shape` and `data_offsets` (from the end of the header), and
 * under `__metadata__` texts by name.
 */
import { elementCount } from "../../kernels/graph.ts";
import { type ByteSource, RangeSource } from "./byte_source.ts";
import { describe, type Fail, quote } from "./checkpoint_error.ts";
import { type Dtype, DTYPES } from "./dtype.ts";
import { replaceFile, writeAll } from "../../data/replace_file.ts";
import { rowMajor, TensorRef } from "./tensor_ref.ts";
import { TensorValue } from "./torch_value.ts";

/** The format allows 100 MB, which take gigabytes to parse; a model of 100,000 tensors needs about half of this. */
const MAX_HEADER_BYTES = 2 ** 24;
const METADATA = "__metadata__";

/** The format's names of element types. */
const NAMES: Readonly<Record<Dtype, string>> = {
  float64: "F64",
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
  int64: "I64",
  int32: "I32",
  int16: "I16",
  int8: "I8",
  uint8: "U8",
  bool: "BOOL",
};
const DTYPE_OF = new Map(Object.entries(NAMES).map(([dtype, name]) => [name, dtype as Dtype]));

/** What a safetensors file holds. */
export interface SafetensorsContent {
  /** By name, in the order of the header. */
  tensors: Map<string, TensorRef>;
  metadata: Map<string, string>;
}

/** Whether a file begins as safetensors do: a length, then an object. */
export function looksLikeSafetensors(head: Uint8Array): boolean {
  return head.length >= 10 && head[8] === 0x7b && (head[9] === 0x22 || head[9] === 0x7d);
}

function headerLength(head: Uint8Array): bigint {
  return new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
}

/**
 * Reads the header; the tensors stay in the file.
 *
 * @throws CheckpointError for a header that is too long or no JSON of this form, and for tensors whose bytes do not
 * fit their shape, overlap, leave gaps or lie outside of the file
 */
export function readSafetensors(source: ByteSource, fail: Fail): SafetensorsContent {
  const start = new Uint8Array(8);
  source.readAt(0, start);
  const length = headerLength(start);
  if (length > BigInt(Math.min(MAX_HEADER_BYTES, source.size - 8))) {
    throw fail(
      `declares a header of ${length} bytes, but the file has ${
        source.size - 8
      } and ${MAX_HEADER_BYTES} are allowed; ` +
        "it is damaged or truncated, copy or download it again",
    );
  }
  const bytes = new Uint8Array(Number(length));
  source.readAt(8, bytes);
  const header = parseHeader(bytes, fail);
  const dataStart = 8 + bytes.length;
  const dataBytes = source.size - dataStart;

  const metadata = new Map<string, string>();
  const entries: { name: string; dtype: Dtype; shape: number[]; begin: number; end: number }[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === METADATA) {
      for (const [key, text] of Object.entries(recordOf(value, METADATA, fail))) {
        if (typeof text !== "string") throw fail(`has metadata ${quote(key)} that is not a string`);
        metadata.set(key, text);
      }
    } else entries.push({ name, ...parseEntry(name, value, fail) });
  }
  let at = 0;
  for (const { name, begin, end } of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== at) {
      throw fail(`has tensor ${quote(name)} at byte ${begin} of the data, where byte ${at} was expected`);
    }
    if (end > dataBytes) {
      throw fail(
        `is truncated: tensor ${
          quote(name)
        } ends at byte ${end} of the data, which has ${dataBytes}; copy or ` +
          "download it again",
      );
    }
    at = end;
  }
  if (at !== dataBytes) throw fail(`has ${dataBytes - at} bytes after its last tensor; it is damaged`);

  const tensors = new Map<string, TensorRef>();
  for (const { name, dtype, shape, begin, end } of entries) {
    const storage = {
      key: name,
      dtype,
      bytes: end - begin,
      open: () => Promise.resolve(new RangeSource(source, dataStart + begin, end - begin)),
    };
    tensors.set(name, new TensorRef(storage, { dtype, shape, stride: rowMajor(shape), offset: 0 }, fail));
  }
  return { tensors, metadata };
}

function parseHeader(bytes: Uint8Array, fail: Fail): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    // The message may have a piece of the header in it.
    throw fail(
      `has a header that is not valid JSON (${quote((error as Error).message)}); the file is damaged`,
    );
  }
  return recordOf(header, "header", fail);
}

function recordOf(value: unknown, what: string, fail: Fail): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw fail(`has a ${what} that is not a JSON object; the file is damaged`);
}

function parseEntry(name: string, value: unknown, fail: Fail) {
  const wrong = (how: string) => fail(`has tensor ${quote(name)} ${how}; the file is damaged or malformed`);
  const { dtype: type, shape, data_offsets: offsets } = recordOf(value, `tensor ${quote(name)}`, fail);
  const dtype = DTYPE_OF.get(type as string);
  if (dtype === undefined) {
    throw wrong(
      `of type ${describe(type)}, which is not supported; known are ${[...DTYPE_OF.keys()].join(", ")}`,
    );
  }
  const areCounts = (numbers: unknown): numbers is number[] =>
    Array.isArray(numbers) && numbers.every((number) => Number.isSafeInteger(number) && number >= 0);
  if (!areCounts(shape) || !areCounts(offsets) || offsets.length !== 2) {
    throw wrong("whose shape or data_offsets are not non-negative integers");
  }
  const [begin, end] = offsets;
  const bytes = byteCount(dtype, shape);
  if (bytes !== end - begin) {
    throw wrong(`of shape [${shape.slice(0, 8)}] and type ${type}, but with bytes ${begin} to ${end}`);
  }
  return { dtype, shape, begin, end };
}

function byteCount(dtype: Dtype, shape: readonly number[]): number {
  return elementCount(shape) * DTYPES[dtype].bytes;
}

/**
 * Writes a safetensors file, whole or not at all, one tensor in memory at a time.
 *
 * @param onTensor called with how many of all tensors are written, and waited for
 * @throws FileWriteError where the disk is full, the folder is missing or read-only
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorRef | TensorValue>,
  metadata: Readonly<Record<string, string>> = {},
  onTensor?: (done: number, total: number) => void | Promise<void>,
): Promise<void> {
  // The data is aligned to its elements when the widest go first; the header keeps the caller's order.
  const entries = [...tensors].sort(([, a], [, b]) => DTYPES[b.dtype].bytes - DTYPES[a.dtype].bytes);
  // Without a prototype, a tensor may have any name.
  const header: Record<string, unknown> = Object.create(null);
  if (Object.keys(metadata).length > 0) header[METADATA] = metadata;
  const offsets = new Map<string, [number, number]>();
  let at = 0;
  for (const [name, { dtype, shape }] of entries) {
    const end = at + byteCount(dtype, shape);
    offsets.set(name, [at, end]);
    at = end;
  }
  for (const [name, { dtype, shape }] of tensors) {
    header[name] = { dtype: NAMES[dtype], shape, data_offsets: offsets.get(name) };
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const length = Math.ceil(json.length / 8) * 8;
  const start = new Uint8Array(8 + length).fill(0x20);
  new DataView(start.buffer).setBigUint64(0, BigInt(length), true);
  start.set(json, 8);

  await replaceFile(path, async (file) => {
    writeAll(file, start);
    for (const [i, [, tensor]] of entries.entries()) {
      const { buffer, byteOffset, byteLength } = tensor instanceof TensorValue
        ? tensor.data
        : await tensor.readRaw();
      writeAll(file, new Uint8Array(buffer, byteOffset, byteLength));
      await onTensor?.(i + 1, entries.length);
    }
  });
}
