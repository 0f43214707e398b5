/** Files for the checkpoint tests, and how to compare what is read from them. */
import { crc32 } from "node:zlib";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { type ByteSource, MemorySource } from "../../../models/checkpoint/byte_source.ts";
import { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";

/** Runs `body` with a folder that is removed afterwards. */
export async function withFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir({ prefix: "checkpoint_test" });
  try {
    return await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The error that reading gives, which must be one for people: it names the file, and is short. */
export async function checkpointErrorOf(
  path: string,
  read: (path: string) => Promise<unknown>,
): Promise<string> {
  try {
    await read(path);
  } catch (error) {
    assertInstanceOf(error, CheckpointError, `${path} gave ${(error as Error).stack}`);
    assert(error.message.startsWith(`${path}: `), error.message);
    assert(error.message.length - path.length < 600, "the message is too long to read");
    // deno-lint-ignore no-control-regex -- control characters are what must not be there
    assert(!/[\x00-\x1f\x7f-\x9f]/.test(error.message), "the message holds control characters");
    return error.message.slice(path.length + 2);
  }
  throw new Error(`${path} was accepted`);
}

/** Opens a file and reads every tensor in it. */
export async function readWhole(path: string): Promise<number> {
  using file = await openCheckpointFile(path);
  let elements = 0;
  const visit = async (value: unknown): Promise<void> => {
    if (value instanceof TensorRef) elements += (await value.read()).length;
    else if (value instanceof Map) { for (const item of value.values()) await visit(item); }
    else if (Array.isArray(value)) { for (const item of value) await visit(item); }
  };
  await visit(file.value);
  return elements;
}

/** An entry for {@linkcode buildZip}; what is said beside name and data overrides what is true. */
export interface FixtureEntry {
  name: string;
  data: Uint8Array;
  method?: number;
  size?: number;
  crc32?: number;
  flags?: number;
  headerOffset?: number;
}

/** A zip archive, honest or not. */
export function buildZip(entries: FixtureEntry[]): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let position = 0;
  const add = (bytes: Uint8Array) => {
    parts.push(bytes);
    position += bytes.length;
  };
  const offsets = entries.map((entry) => {
    const offset = position;
    add(header(0x04034b50, 30, entry, 0));
    add(new TextEncoder().encode(entry.name));
    add(entry.data);
    return offset;
  });
  const start = position;
  entries.forEach((entry, i) => {
    add(header(0x02014b50, 46, entry, entry.headerOffset ?? offsets[i]));
    add(new TextEncoder().encode(entry.name));
  });
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, entries.length, true);
  end.setUint16(10, entries.length, true);
  end.setUint32(12, position - start, true);
  end.setUint32(16, start, true);
  add(new Uint8Array(end.buffer));
  const archive = new Uint8Array(position);
  let at = 0;
  for (const part of parts) {
    archive.set(part, at);
    at += part.length;
  }
  return archive;
}

function header(signature: number, bytes: number, entry: FixtureEntry, offset: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(bytes));
  const central = bytes === 46 ? 2 : 0;
  view.setUint32(0, signature, true);
  view.setUint16(6 + central, entry.flags ?? 0, true);
  view.setUint16(8 + central, entry.method ?? 0, true);
  view.setUint32(14 + central, entry.crc32 ?? crc32(entry.data), true);
  view.setUint32(18 + central, entry.data.length, true);
  view.setUint32(22 + central, entry.size ?? entry.data.length, true);
  view.setUint16(26 + central, new TextEncoder().encode(entry.name).length, true);
  if (central > 0) view.setUint32(42, offset, true);
  return new Uint8Array(view.buffer);
}

/** Raw deflate. */
export async function deflate(data: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([data]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Bytes of a pickle, from opcodes written as text (one char a byte) and numbers. */
export function pickleBytes(...parts: (string | number)[]): Uint8Array<ArrayBuffer> {
  const text = parts.map((part) => typeof part === "number" ? String.fromCharCode(part) : part).join("");
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

/** BINUNICODE of a short ASCII text. */
export function pickleText(text: string): string {
  return `X${String.fromCharCode(text.length)}\0\0\0${text}`;
}

/** A tensor as PyTorch pickles it; numbers are lines, so that they can have any size. */
export function pickleTensor(
  { key = "0", type = "FloatStorage", elements = 4, offset = 0, shape = [4], stride = [1] }: {
    key?: string;
    type?: string;
    elements?: number;
    offset?: number;
    shape?: number[];
    stride?: number[];
  } = {},
): string {
  const ints = (values: number[]) => `(${values.map((value) => `L${value}L\n`).join("")}t`;
  return `ctorch._utils\n_rebuild_tensor_v2\n((${pickleText("storage")}ctorch\n${type}\n${pickleText(key)}` +
    `${pickleText("cpu")}L${elements}L\ntQL${offset}L\n${ints(shape)}${
      ints(stride)
    }\x89ccollections\nOrderedDict\n` +
    ")RtR";
}

/** A source in memory that notes what is read of it. */
export class CountingSource implements ByteSource {
  readonly size: number;
  readonly #inner: MemorySource;
  /** Bytes read so far. */
  bytesRead = 0;
  constructor(bytes: Uint8Array) {
    this.#inner = new MemorySource(bytes);
    this.size = bytes.length;
  }
  readAt(position: number, into: Uint8Array): void {
    this.bytesRead += into.length;
    this.#inner.readAt(position, into);
  }
}

/** Compares a value that was read with the JSON that the reference has for it. */
export async function assertMatchesReference(
  actual: unknown,
  expected: unknown,
  where = "value",
): Promise<void> {
  if (isTensorJson(expected)) {
    assertInstanceOf(actual, TensorRef, where);
    assertEquals(actual.dtype, expected.dtype, where);
    assertEquals([...actual.shape], expected.shape, where);
    // The JSON has nine digits, which tell every float32.
    assertEquals(await actual.read(), Float32Array.from(expected.values), where);
  } else if (Array.isArray(expected)) {
    assertInstanceOf(actual, Array, where);
    assertEquals(actual.length, expected.length, where);
    for (const [i, item] of expected.entries()) {
      await assertMatchesReference(actual[i], item, `${where}[${i}]`);
    }
  } else if (typeof expected === "object" && expected !== null) {
    assertInstanceOf(actual, Map, where);
    assertEquals([...actual.keys()].map(String), Object.keys(expected), `${where}: keys and their order`);
    for (const [key, item] of actual) {
      await assertMatchesReference(
        item,
        (expected as Record<string, unknown>)[String(key)],
        `${where}.${key}`,
      );
    }
  } else {
    assertEquals(actual, expected, where);
  }
}

function isTensorJson(value: unknown): value is { dtype: string; shape: number[]; values: number[] } {
  return typeof value === "object" && value !== null && "dtype" in value && "values" in value;
}
