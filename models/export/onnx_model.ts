/** A frozen encoder as an ONNX model: its nodes, what its weights are made of, and what a user of it must know. */
import { Graph } from "../../kernels/graph.ts";
import { l2Normalize } from "../../kernels/ops/l2_normalize/l2_normalize.ts";
import { liveNodes } from "../../kernels/schedule.ts";
import { inputTexts, type SavedInput } from "../checkpoint/saved_input.ts";
import { EncoderBuilder } from "../encoder_builder.ts";
import type { DeviceParameter } from "../encoder_layers.ts";
import type { HeadOptions } from "../heads.ts";
import { traceImages } from "../images.ts";
import { type Encoder, traceOutputs } from "../encoder.ts";
import type { EncoderPart } from "../encoder_parts.ts";
import { translateNode } from "./onnx_rules.ts";
import { ONNX_FLOAT, type OnnxGraph, type OnnxModel, type OnnxValueInfo } from "./onnx_schema.ts";
import { OnnxTranslator } from "./onnx_translator.ts";

/**
 * The oldest operator set, in which HardSwish is, and the newer ones of ops that need them: Shape for its `start` and `end`.
 * What is newer would shut out older runtimes and gain nothing.
 */
const OPSET = 14;
const NEWER_OPSETS: ReadonlyMap<string, number> = new Map([["Shape", 15], ["LayerNormalization", 17]]);

/** The operator set of a model, and the format's version of its time. */
function versionOf({ nodes }: OnnxTranslator): { opset: number; ir: number } {
  const opset = Math.max(OPSET, ...nodes.map(({ opType }) => NEWER_OPSETS.get(opType) ?? OPSET));
  return { opset, ir: opset === OPSET ? 7 : 8 };
}

/** What {@linkcode traceOnnxModel} needs. */
export interface OnnxModelOptions {
  encoder: Encoder;
  head: HeadOptions;
  /** What the metadata say of the images. Their height and width are fixed: static SAME padding depends on it. */
  input: SavedInput & { imageSize: number };
  /** `backbone`: the output is `feature` [batch, f]; `encoder`: `embedding` [batch, d], then `feature`. */
  part: EncoderPart;
  /** The embedding is L2-normalised, and the output called `normalized` instead. */
  normalize: boolean;
}

/** A float32 weight of the model: in PyTorch's layout or transposed, with batch norm and LayerScale folded. */
export interface ExportedWeight {
  readonly name: string;
  readonly shape: readonly number[];
  /** The state_dict's entries that it is made of. */
  readonly keys: readonly string[];
  /** Its value from the entries', in the order of `keys`. */
  compute(values: readonly Float32Array[]): Float32Array<ArrayBuffer>;
}

/** A model whose weights have not been read yet. */
export interface TracedOnnxModel {
  readonly model: OnnxModel;
  /** Without initializers: they are `weights`. */
  readonly graph: OnnxGraph;
  readonly weights: readonly ExportedWeight[];
}

function valueInfo(name: string, shape: readonly number[]): OnnxValueInfo {
  const dim = [{ dimParam: "batch" }, ...shape.map((dimValue) => ({ dimValue }))];
  return { name, type: { tensorType: { elemType: ONNX_FLOAT, shape: { dim } } } };
}

/**
 * Translates an encoder. Nothing is read or run.
 *
 * The input is `images`, float32 [batch, 3, size, size]: RGB in [0, 1], less a mean and divided by a deviation per
 * channel, which `metadata_props` say.
 */
export function traceOnnxModel(options: OnnxModelOptions): TracedOnnxModel {
  const { encoder, head, input, part, normalize } = options;
  const { imageSize } = input;
  const graph = new Graph();
  const { images } = traceImages(graph, "normalized", 1, imageSize);
  const builder = new EncoderBuilder(graph, "eval");
  const { feature, embedding } = traceOutputs(encoder, builder, images, head, {
    readsEmbedding: part === "encoder",
  });
  const outputs = part === "backbone" ? { feature } : normalize
    // SimCLR's and SWAV's are normalised as they are.
    ? {
      normalized: embedding.producer?.op === l2Normalize
        ? embedding
        : graph.apply(l2Normalize, [embedding], {}),
      feature,
    }
    : { embedding, feature };

  const parameters = new Map(builder.parameters.map((parameter) => [parameter.tensor, parameter]));
  const shapes = new Map(builder.state.map(({ key, shape }) => [key, shape]));
  const translator = new OnnxTranslator(
    new Map(builder.parameters.map(({ tensor, keys }) => [tensor, shapes.get(keys[0])!])),
    Object.keys(outputs),
  );
  translator.input(images, "images");
  for (const node of liveNodes(graph, Object.values(outputs))) translateNode(translator, node);
  for (const [name, tensor] of Object.entries(outputs)) translator.output(tensor, name);

  const { opset, ir } = versionOf(translator);
  const { arch: _, ...ofImages } = input; // it is `encoder` here
  const metadata = { encoder: encoder.name, part, channels: "RGB", ...inputTexts(ofImages) };
  return {
    model: {
      irVersion: ir,
      producerName: "seed-distillation",
      docString:
        `${encoder.name} (${part}), batch norm and LayerScale folded. Input: RGB images in [0, 1], normalised per ` +
        "channel with mean and std of metadata_props.",
      opsetImport: [{ domain: "", version: opset }],
      metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    },
    graph: {
      name: encoder.name,
      node: translator.nodes,
      initializer: [],
      input: [valueInfo("images", [3, imageSize, imageSize])],
      output: Object.entries(outputs).map(([name, tensor]) => valueInfo(name, [tensor.shape.at(-1)!])),
    },
    weights: translator.weights.map(({ name, shape, tensor, fromDevice }) => {
      const { keys, toDevice }: DeviceParameter = parameters.get(tensor)!;
      return { name, shape, keys, compute: (values) => fromDevice(toDevice(values)) };
    }),
  };
}
