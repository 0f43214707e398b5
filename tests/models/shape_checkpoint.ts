/** Checkpoints that have an encoder's names and shapes, but only zeros in half precision: all but MoCo-v3's fixed positions. */
import { plainKey } from "../../models/checkpoint/state_dict.ts";
import { OrderedDict, TensorValue, type TorchValue } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { elementCount } from "../../kernels/graph.ts";
import type { HeadOptions } from "../../models/heads.ts";
import { gridOfTable, sineCosinePositions } from "../../models/position_embedding.ts";
import { withFolder } from "./checkpoint/fixtures.ts";
import { findEncoder, summarize, usualHead } from "../../models/registry.ts";

/** How {@linkcode writeShapes} writes an encoder. */
export interface ShapeOptions {
  head?: HeadOptions;
  /** In front of every key. The encoder's own `module.` is taken off first. */
  prefix?: string;
  /** Entries that are left out. */
  without?: RegExp;
  /** Other tensors. */
  more?: Record<string, readonly number[]>;
  /** Puts something around the dict. */
  wrap?: (dict: OrderedDict) => TorchValue;
}

/** Lends the path of a checkpoint of an encoder. */
export async function withShapes(
  arch: string,
  options: ShapeOptions,
  body: (path: string) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    await writeShapes(`${folder}/t.pth.tar`, arch, options);
    await body(`${folder}/t.pth.tar`);
  });
}

/** Writes the checkpoint of an encoder. */
export async function writeShapes(path: string, arch: string, options: ShapeOptions = {}): Promise<void> {
  const encoder = findEncoder(arch);
  const { head = usualHead(encoder), prefix = "", without = /^$/, more = {}, wrap = (dict) => dict } =
    options;
  const shapes = [
    ...summarize(encoder, head, encoder.sizes?.usual ?? 64).state
      .map(({ key, shape }) => [plainKey(key), shape] as const)
      .filter(([key]) => !without.test(key))
      .map(([key, shape]) => [prefix + key, shape] as const),
    ...Object.entries(more),
  ];
  const valueOf = (key: string, shape: readonly number[]) =>
    key === `${prefix}pos_embed` && encoder.ssl === "mocov3"
      ? new TensorValue("float32", shape, mocoV3Positions(shape))
      : new TensorValue("float16", shape, new Uint16Array(elementCount(shape)));
  const dict = new OrderedDict(shapes.map(([key, shape]) => [key, valueOf(key, shape)]));
  await writeTorchFile(path, wrap(dict));
}

/** MoCo-v3's fixed table of a shape [1, 1 + G * G, width]. */
function mocoV3Positions([, tokens, width]: readonly number[]): Float32Array<ArrayBuffer> {
  const grid = gridOfTable(tokens)!;
  return Float32Array.from(sineCosinePositions(width, [grid, grid]));
}
