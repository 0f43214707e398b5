/** Which entries of an encoder's state_dict belong to the backbone, and which to its head. */
import { Graph } from "../../kernels/graph.ts";
import { liveNodes } from "../../kernels/program.ts";
import { EncoderBuilder, type StateEntry } from "../encoder_builder.ts";
import type { HeadOptions } from "../heads.ts";
import { traceImages } from "../images.ts";
import type { Encoder } from "../registry.ts";

/** `backbone`: without the head, it gives features. `encoder`: with it, it gives embeddings. */
export type EncoderPart = "backbone" | "encoder";

/** A key without what SimCLR's encoder is wrapped in. */
export function plainKey(key: string): string {
  return key.replace(/^module\./, "");
}

/** Name of a layer from the key of one of its entries: `layer1.0.bn1`. */
function layerOf(key: string): string {
  return key.slice(0, Math.max(key.lastIndexOf("."), 0));
}

/**
 * The state_dict of a part, in PyTorch's order.
 *
 * The backbone is what the feature depends on, whatever the layers of the head are called.
 */
export function stateOfPart(encoder: Encoder, head: HeadOptions, part: EncoderPart): readonly StateEntry[] {
  const graph = new Graph();
  const builder = new EncoderBuilder(graph, "eval");
  const { images } = traceImages(graph, "normalized", 1, 64);
  const { feature } = encoder.trace(builder, images, head);
  if (part === "encoder") return builder.state;
  const used = new Set(liveNodes(graph, [feature]).flatMap(({ inputs }) => inputs));
  const layers = new Set(
    builder.parameters.filter(({ tensor }) => used.has(tensor)).flatMap(({ keys }) => keys.map(layerOf)),
  );
  return builder.state.filter(({ key }) => layers.has(layerOf(key)));
}
