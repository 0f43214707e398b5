/** Vision transformers: time beside onnxruntime-web, and memory by the program's plan. */
import { Random } from "../data/random.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { byteLength, Graph } from "../kernels/graph.ts";
import { padRows } from "../kernels/layout.ts";
import type { Encoder } from "../models/encoder.ts";
import { EncoderBuilder } from "../models/encoder_builder.ts";
import { FrozenEncoder, scheduleEncoder } from "../models/inference.ts";
import { initialize, type StateValues } from "../models/initialize.ts";
import { findEncoder, summarize, usualHead } from "../models/registry.ts";
import { compare, type Contestant } from "./measure.ts";
import { embedOnnx } from "./onnxruntime.ts";
import type { Row } from "./section.ts";

/** A software adapter embeds some images a second, and with onnxruntime-web's kernels less than one. */
const BATCHES = { software: 2, gpu: 32 };
const IMAGE_SIZE = 224;

/** Fresh weights; but that the layers count, as in a trained encoder, LayerScale is 1. */
function weightsOf(encoder: Encoder): StateValues {
  const weights = initialize(summarize(encoder, usualHead(encoder)).state, 1);
  for (const [key, values] of weights) if (key.endsWith(".gamma")) values.fill(1);
  return weights;
}

async function embedOurs(
  gpu: Gpu,
  encoder: Encoder,
  weights: StateValues,
  batch: number,
  images: Float32Array<ArrayBuffer>,
): Promise<Contestant> {
  const frozen = await FrozenEncoder.create(gpu, {
    encoder,
    head: usualHead(encoder),
    batch,
    imageSize: IMAGE_SIZE,
    input: "normalized",
    output: "normalized",
  });
  await frozen.load((key) => weights.get(key)!);
  const padded = padRows(images, [batch, IMAGE_SIZE, IMAGE_SIZE, 3]);
  const embeddings = new Float32Array(batch * encoder.features);
  return {
    name: "ours",
    run: async () => void await frozen.embed(padded, embeddings),
    finish: () => Promise.resolve(), // `run` waits for the embeddings
    result: () => Promise.resolve({ embeddings }),
    dispose: () => frozen[Symbol.dispose](),
  };
}

/** Rows of the section on time. */
export async function compareVits(gpu: Gpu, rounds: number): Promise<Row[]> {
  const rows: Row[] = [];
  const batch = gpu.target.isSoftware ? BATCHES.software : BATCHES.gpu;
  const random = new Random(1, "bench", "images");
  const planar = Float32Array.from({ length: batch * 3 * IMAGE_SIZE ** 2 }, () => random.uniform(-2, 2));
  const plane = IMAGE_SIZE ** 2;
  const interleaved = Float32Array.from(planar, (_, i) => {
    const [image, pixel, channel] = [Math.floor(i / (3 * plane)), Math.floor(i / 3) % plane, i % 3];
    return planar[(image * 3 + channel) * plane + pixel];
  });
  for (const name of ["dinov2_vits14", "dinov2_vitb14"]) {
    const encoder = findEncoder(name);
    const weights = weightsOf(encoder);
    const work = { encoder, head: usualHead(encoder), weights, batch, imageSize: IMAGE_SIZE, images: planar };
    const contestants = [
      await embedOurs(gpu, encoder, weights, batch, interleaved),
      await embedOnnx(work, "webgpu"),
      await embedOnnx(work, "wasm"),
    ];
    const timings = await compare(name, contestants, rounds);
    const { multiplyAccumulates } = summarize(encoder, usualHead(encoder), IMAGE_SIZE);
    const operations = 2 * multiplyAccumulates * batch;
    rows.push({
      name: `${name}, ${batch} x ${IMAGE_SIZE} px`,
      timings,
      facts: { "GFLOP/s of linear layers": (operations / timings.ours.median / 1e6).toFixed(1) },
    });
  }
  return rows;
}

/** What is planned: encoder, images and their side in pixels. */
const PLANNED = [
  ...[224, 448, 672, 896].map((size) => ["dinov2_vits14", 1, size] as const),
  ["dinov2_vits14", 32, 224],
  ["dinov2_vitb14", 32, 224],
  ["dinov2_vitg14", 1, 224],
  ["dinov2_vitg14", 8, 224],
  ["dinov2_vitg14", 32, 224],
] as const;

const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);

/** Bytes of an encoder's weights as they lie on the device, those of products in float16 or not. */
function weightBytes(encoder: Encoder, imageSize: number, halfWeights: boolean): number {
  const graph = new Graph();
  const builder = new EncoderBuilder(graph, "eval", { halfWeights });
  const images = graph.source("images", [1, imageSize, imageSize, 3]);
  const { embedding } = encoder.trace(builder, images, usualHead(encoder));
  return builder.parametersOf(embedding).reduce((sum, { tensor }) => sum + byteLength(tensor), 0);
}

/** Rows of the section on memory. Nothing is run. */
export function planVits(gpu: Gpu): Row[] {
  // As on a device that binds as much as it is given.
  const target = { ...gpu.target, maxStorageBufferBindingSize: 2 ** 40 };
  return PLANNED.map(([name, batch, imageSize]) => {
    const encoder = findEncoder(name);
    const plan = (mixedPrecision: boolean) =>
      scheduleEncoder(target, {
        ...{ encoder, head: usualHead(encoder), batch, imageSize, mixedPrecision },
        output: "normalized",
      }).plan.bytes;
    const tokens = 1 + (imageSize / 14) ** 2;
    const bytes = plan(false);
    return {
      name: `${name}, ${batch} x ${imageSize} px`,
      facts: {
        "tokens": String(tokens),
        "weights, MiB": mebibytes(weightBytes(encoder, imageSize, false)),
        "weights with --amp, MiB": mebibytes(weightBytes(encoder, imageSize, true)),
        "planned beside, MiB": mebibytes(bytes),
        "KiB a token": (bytes / batch / tokens / 2 ** 10).toFixed(1),
        "planned with --amp, MiB": mebibytes(plan(true)),
      },
    };
  });
}
