/** Which entries of an encoder's state_dict belong to the backbone, and which to its head. */
import { Graph } from "../kernels/graph.ts";
import { EncoderBuilder } from "./encoder_builder.ts";
import type { StateEntry } from "./encoder_layers.ts";
import type { HeadOptions } from "./heads.ts";
import { traceImages } from "./images.ts";
import { type Encoder, sampleSize, traceEncoder } from "./encoder.ts";

/** `backbone`: the encoder without its head, which gives features. `encoder`: with its head, which gives embeddings. */
export type EncoderPart = "backbone" | "encoder";

/** The state_dict of each part, in PyTorch's order. */
export type EncoderParts = Readonly<Record<EncoderPart, readonly StateEntry[]>>;

/** Name of a layer from the key of one of its entries: `layer1.0.bn1`. */
function layerOf(key: string): string {
  return key.slice(0, Math.max(key.lastIndexOf("."), 0));
}

/** What was told apart before, by encoder and head: a file is compared with all encoders, and tasks open theirs several times. */
const known = new WeakMap<Encoder, Map<string, EncoderParts>>();

/** Tells the parts apart: the backbone is what the feature depends on, whatever the layers of the head are called. */
export function partsOf(encoder: Encoder, head: HeadOptions): EncoderParts {
  const byHead = known.get(encoder) ?? new Map<string, EncoderParts>();
  known.set(encoder, byHead);
  const { kind, dimension, hidden, isClassifier } = head;
  const key = [kind, dimension, hidden, isClassifier].join();
  const parts = byHead.get(key) ?? tracePartsOf(encoder, head);
  byHead.set(key, parts);
  return parts;
}

function tracePartsOf(encoder: Encoder, head: HeadOptions): EncoderParts {
  const graph = new Graph();
  const builder = new EncoderBuilder(graph, "eval");
  const { images } = traceImages(graph, "normalized", 1, sampleSize(encoder));
  const { feature } = traceEncoder(encoder, builder, images, head);
  const layers = new Set(builder.parametersOf(feature).flatMap(({ keys }) => keys.map(layerOf)));
  return {
    backbone: builder.state.filter(({ key }) => layers.has(layerOf(key))),
    encoder: builder.state,
  };
}

/** Ends a trace that has got as far as it is needed. */
class FirstEntry {
  constructor(readonly entry: StateEntry) {}
}

const firstEntries = new WeakMap<Encoder, StateEntry>();

/**
 * Returns the first entry that every checkpoint of an encoder has. An encoder is traced only so far for it: to trace all
 * encoders to their ends takes longer than all else that is done to recognise a file.
 */
export function firstEntryOf(encoder: Encoder, head: HeadOptions): StateEntry | undefined {
  const found = firstEntries.get(encoder) ?? traceFirstEntry(encoder, head);
  if (found !== undefined) firstEntries.set(encoder, found);
  return found;
}

function traceFirstEntry(encoder: Encoder, head: HeadOptions): StateEntry | undefined {
  const graph = new Graph();
  const builder = new EncoderBuilder(graph, "eval", {
    onEntry(entry) {
      if (entry.kind !== "counter" && !entry.optional) throw new FirstEntry(entry);
    },
  });
  const { images } = traceImages(graph, "normalized", 1, sampleSize(encoder));
  try {
    traceEncoder(encoder, builder, images, head);
  } catch (error) {
    if (error instanceof FirstEntry) return error.entry;
    throw error;
  }
}
