/** The encoders that flags can name. To add one: its file, and a line in {@linkcode ENCODERS}. */
import { elementCount, Graph, type Tensor } from "../kernels/graph.ts";
import { conv2d } from "../kernels/ops/conv2d/conv2d.ts";
import { EncoderBuilder, type StateEntry } from "./encoder_builder.ts";
import type { HeadOptions } from "./heads.ts";
import { resnet } from "./resnet.ts";
import { UserError } from "../errors.ts";

/** What an encoder computes. */
export interface EncoderOutputs {
  /** Pooled feature [n, 1, 1, f]: what kNN and the linear probe use. */
  feature: Tensor;
  /** Output of the head [n, 1, 1, d], not normalised: what SEED's loss uses. */
  embedding: Tensor;
}

/** An encoder: a plain function over graph ops. */
export interface Encoder {
  readonly name: string;
  /** Length of the pooled feature. */
  readonly features: number;
  /** Traces it on normalised images [n, h, w, 3]. */
  trace(builder: EncoderBuilder, images: Tensor, head: HeadOptions): EncoderOutputs;
}

/** Every encoder. */
export const ENCODERS: readonly Encoder[] = [resnet(18), resnet(34), resnet(50), resnet(101), resnet(152)];

/** The encoder of a name. Throws a {@linkcode UserError} that lists the known ones. */
export function findEncoder(name: string): Encoder {
  const encoder = ENCODERS.find((candidate) => candidate.name === name);
  if (encoder === undefined) {
    throw new UserError(
      `there is no encoder "${name}"; known are ${ENCODERS.map((candidate) => candidate.name).join(", ")}`,
    );
  }
  return encoder;
}

/** What a table of encoders shows. */
export interface EncoderSummary {
  /** Trained numbers, the head included. */
  parameters: number;
  /** Multiply-accumulates of convolutions and linear layers for one picture. */
  multiplyAccumulates: number;
  /** The state_dict, in PyTorch's order. */
  state: readonly StateEntry[];
}

/** Counts an encoder with a head, for one picture of `imageSize` x `imageSize`. Nothing is run. */
export function summarize(encoder: Encoder, head: HeadOptions, imageSize = 224): EncoderSummary {
  const graph = new Graph();
  const builder = new EncoderBuilder(graph, "train");
  encoder.trace(builder, graph.source("images", [1, imageSize, imageSize, 3]), head);
  let multiplyAccumulates = 0;
  for (const node of graph.nodes) {
    if (node.op !== conv2d) continue;
    const [x, weight] = node.inputs;
    const [kh, kw, , outputs] = weight.shape;
    const [, ho, wo] = node.outputs[0].shape;
    multiplyAccumulates += ho * wo * kh * kw * x.shape[3] * outputs;
  }
  const parameters = builder.state.filter((entry) => entry.kind === "parameter")
    .reduce((total, entry) => total + elementCount(entry.shape), 0);
  return { parameters, multiplyAccumulates, state: builder.state };
}
