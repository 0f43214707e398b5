/** Writes ONNX files, one weight in memory at a time. */
import { basename } from "node:path";
import { UserError } from "../../errors.ts";
import { elementCount } from "../../kernels/graph.ts";
import { concatenateBytes } from "../../data/bytes.ts";
import { replaceFile, replaceFiles, writeAll } from "../../data/replace_file.ts";
import type { ExportedWeight, TracedOnnxModel } from "./onnx_model.ts";
import {
  encodeFieldStart,
  encodeOnnxGraph,
  encodeOnnxModel,
  encodeOnnxTensor,
  ONNX_FIELDS,
  ONNX_FLOAT,
} from "./onnx_schema.ts";

/** Protobuf messages end at 2 GiB; above this the weights go to a file of their own. */
export const LARGEST_MESSAGE = 2 ** 31 - 1;

/** Memory-mapped weights should start on a page. */
const PAGE = 4096;

/** Where the weights of a model go that are too large for its own file. */
export function externalDataPath(path: string): string {
  return `${path}.data`;
}

/** What {@linkcode writeOnnxFile} has written. */
export interface WrittenOnnx {
  /** The model, and the file of its weights where they did not fit into it. */
  readonly files: readonly string[];
  /** Of all files. */
  readonly bytes: number;
}

/** How {@linkcode writeOnnxFile} goes about it. */
export interface WriteOnnxOptions {
  /** Reads an entry of the state_dict in PyTorch's layout. */
  read(key: string): Promise<Float32Array>;
  /** Called before each weight with how many are written, and once at the end; it is waited for. */
  onWeight?(done: number, total: number): void | Promise<void>;
  /** Bytes above which the weights get a file of their own; {@linkcode LARGEST_MESSAGE} by default. */
  largestMessage?: number;
}

/**
 * Writes a model to `path`. A model that is too large for one protobuf message has its weights in a second file beside
 * it ({@linkcode externalDataPath}), as ONNX's external data: both belong in the same folder under these names. Of a model
 * that is not, a second file of the one before is removed.
 *
 * @throws FileWriteError where a file cannot be written; the files that were there before are as they were
 */
export async function writeOnnxFile(
  path: string,
  traced: TracedOnnxModel,
  { read, onWeight, largestMessage = LARGEST_MESSAGE }: WriteOnnxOptions,
): Promise<WrittenOnnx> {
  const { weights } = traced;
  let done = 0;
  const next = async ({ keys, compute }: ExportedWeight): Promise<Uint8Array> => {
    await onWeight?.(done++, weights.length);
    const { buffer, byteOffset, byteLength } = compute(await Promise.all(keys.map(read)));
    return new Uint8Array(buffer, byteOffset, byteLength);
  };
  const inner = layOutInner(traced);
  if (inner.bytes <= largestMessage) {
    await replaceFile(path, async (file) => {
      writeAll(file, inner.head);
      for (const [i, weight] of weights.entries()) {
        writeAll(file, inner.starts[i]);
        writeAll(file, await next(weight));
      }
    });
    await removeData(externalDataPath(path));
    await onWeight?.(done, weights.length);
    return { files: [path], bytes: inner.bytes };
  }

  const dataPath = externalDataPath(path);
  const { message, offsets, bytes } = layOutExternal(traced, basename(dataPath));
  // The model first, so that no data is left behind where it cannot have its name.
  await replaceFiles([path, dataPath], async ([model, data]) => {
    for (const [i, weight] of weights.entries()) {
      await data.seek(offsets[i], Deno.SeekMode.Start);
      writeAll(data, await next(weight));
    }
    writeAll(model, message);
  });
  await onWeight?.(done, weights.length);
  return { files: [path, dataPath], bytes: bytes + message.length };
}

/** Removes the weights of a model that is no more: nothing refers to them, and they may be gigabytes. */
async function removeData(path: string): Promise<void> {
  try {
    if (!(await Deno.lstat(path)).isDirectory) await Deno.remove(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    const { message } = error as Error;
    throw new UserError(
      `${path} is left of the model that was replaced, and cannot be removed: ${message}; remove it yourself`,
      { cause: error },
    );
  }
}

function byteCount({ shape }: ExportedWeight): number {
  return elementCount(shape) * Float32Array.BYTES_PER_ELEMENT;
}

/** The model as one message: what comes before the weights, and before each weight's data. */
function layOutInner(
  { model, graph, weights }: TracedOnnxModel,
): { head: Uint8Array; starts: Uint8Array[]; bytes: number } {
  let graphBytes = 0;
  const starts = weights.map((weight) => {
    const { name, shape } = weight;
    const bytes = byteCount(weight);
    const tensor = concatenateBytes(
      encodeOnnxTensor({ name, dims: shape, dataType: ONNX_FLOAT }),
      encodeFieldStart(ONNX_FIELDS.rawData, bytes),
    );
    const start = concatenateBytes(
      encodeFieldStart(ONNX_FIELDS.initializer, tensor.length + bytes),
      tensor,
    );
    graphBytes += start.length + bytes;
    return start;
  });
  const graphHead = encodeOnnxGraph(graph);
  const total = graphHead.length + graphBytes;
  const head = concatenateBytes(
    encodeOnnxModel(model),
    encodeFieldStart(ONNX_FIELDS.graph, total),
    graphHead,
  );
  return { head, starts, bytes: head.length + graphBytes };
}

/** The model with its weights in another file, and where in that each weight starts. */
function layOutExternal(
  { model, graph, weights }: TracedOnnxModel,
  location: string,
): { message: Uint8Array; offsets: number[]; bytes: number } {
  const offsets: number[] = [];
  let bytes = 0;
  const initializer = weights.map((weight) => {
    const { name, shape } = weight;
    const offset = Math.ceil(bytes / PAGE) * PAGE;
    offsets.push(offset);
    bytes = offset + byteCount(weight);
    const entries = { location, offset: String(offset), length: String(byteCount(weight)) };
    return {
      name,
      dims: shape,
      dataType: ONNX_FLOAT,
      dataLocation: "EXTERNAL",
      externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
    } as const;
  });
  return { message: encodeOnnxModel({ ...model, graph: { ...graph, initializer } }), offsets, bytes };
}
