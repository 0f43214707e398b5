/** Checkpoints that have an encoder's names and shapes, but only zeros of one byte each. */
import { plainKey } from "../../models/checkpoint/state_dict.ts";
import { OrderedDict, TensorValue, type TorchValue } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { elementCount } from "../../kernels/graph.ts";
import type { HeadOptions } from "../../models/heads.ts";
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
    ...summarize(encoder, head, 64).state
      .map(({ key, shape }) => [plainKey(key), shape] as const)
      .filter(([key]) => !without.test(key))
      .map(([key, shape]) => [prefix + key, shape] as const),
    ...Object.entries(more),
  ];
  const dict = new OrderedDict(
    shapes.map(([key, shape]) => [key, new TensorValue("int8", shape, new Int8Array(elementCount(shape)))]),
  );
  await writeTorchFile(path, wrap(dict));
}
