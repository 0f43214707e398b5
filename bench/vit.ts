/** Vision transformers: time beside onnxruntime-web and PyTorch, and memory, as it is planned and as it is allocated. */
import { Random } from "../data/random.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { byteLength, Graph } from "../kernels/graph.ts";
import { padRows } from "../kernels/layout.ts";
import type { Encoder } from "../models/encoder.ts";
import { EncoderBuilder } from "../models/encoder_builder.ts";
import { FrozenEncoder, scheduleEncoder } from "../models/inference.ts";
import { initialize, type StateValues } from "../models/initialize.ts";
import { findEncoder, summarize, usualHead } from "../models/registry.ts";
import { measureAttentionMemory } from "./attention.ts";
import { grow, type Point } from "./growth.ts";
import { compare, type Contestant } from "./measure.ts";
import { embedOnnx } from "./onnxruntime.ts";
import type { Curve, Row } from "./section.ts";
import { timeTorchVit } from "./torch_vit.ts";

const BATCH = 32;
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
  images: Float32Array<ArrayBuffer>,
): Promise<Contestant> {
  const frozen = await FrozenEncoder.create(gpu, {
    encoder,
    head: usualHead(encoder),
    batch: BATCH,
    imageSize: IMAGE_SIZE,
    input: "normalized",
    output: "normalized",
  });
  await frozen.load((key) => weights.get(key)!);
  const padded = padRows(images, [BATCH, IMAGE_SIZE, IMAGE_SIZE, 3]);
  const embeddings = new Float32Array(BATCH * encoder.features);
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
  const random = new Random(1, "bench", "images");
  const planar = Float32Array.from({ length: BATCH * 3 * IMAGE_SIZE ** 2 }, () => random.uniform(-2, 2));
  const plane = IMAGE_SIZE ** 2;
  const interleaved = Float32Array.from(planar, (_, i) => {
    const [image, pixel, channel] = [Math.floor(i / (3 * plane)), Math.floor(i / 3) % plane, i % 3];
    return planar[(image * 3 + channel) * plane + pixel];
  });
  for (const name of ["dinov2_vits14", "dinov2_vitb14"]) {
    const encoder = findEncoder(name);
    const weights = weightsOf(encoder);
    const work = {
      encoder,
      head: usualHead(encoder),
      weights,
      batch: BATCH,
      imageSize: IMAGE_SIZE,
      images: planar,
    };
    const contestants = [
      await embedOurs(gpu, encoder, weights, interleaved),
      await embedOnnx(work, "webgpu"),
      await embedOnnx(work, "wasm"),
    ];
    const [ours] = contestants;
    await ours.run();
    const { embeddings } = await ours.result();
    const torch = await timeTorchVit(work, embeddings, rounds);
    const timings = {
      ...await compare(name, contestants, rounds),
      ...Object.fromEntries(Object.entries(torch).map(([precision, time]) => [`PyTorch ${precision}`, time])),
    };
    const { multiplyAccumulates } = summarize(encoder, usualHead(encoder), IMAGE_SIZE);
    const operations = 2 * multiplyAccumulates * BATCH;
    rows.push({
      name: `${name}, ${BATCH} x ${IMAGE_SIZE} px`,
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

const tokensOf = (imageSize: number) => 1 + (imageSize / 14) ** 2;

const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);

/** Bytes of an encoder's weights as they lie on the device, those of products in float16 or not. */
function weightBytes(encoder: Encoder, imageSize: number, halfWeights: boolean): number {
  const graph = new Graph();
  const builder = new EncoderBuilder(graph, "eval", { halfWeights });
  const images = graph.source("images", [1, imageSize, imageSize, 3]);
  const { embedding } = encoder.trace(builder, images, usualHead(encoder));
  return builder.parametersOf(embedding).reduce((sum, { tensor }) => sum + byteLength(tensor), 0);
}

/** MiB that are allocated on the device for a frozen encoder of one image, its weights among them. */
async function allocatedFor(gpu: Gpu, encoder: Encoder, imageSize: number): Promise<number> {
  const before = gpu.allocatedBytes;
  using frozen = await FrozenEncoder.create(gpu, {
    ...{ encoder, head: usualHead(encoder), batch: 1, imageSize },
    output: "normalized",
  });
  const weights = weightsOf(encoder);
  await frozen.load((key) => weights.get(key)!);
  return (gpu.allocatedBytes - before) / 2 ** 20;
}

/** How memory grows with tokens: what is allocated, beside a straight line. */
async function growWithTokens(gpu: Gpu): Promise<{ rows: Row[]; curves: Curve[] }> {
  const axes = { x: "tokens", y: "MiB", hasConstant: true };
  const encoder = findEncoder("dinov2_vits14");
  const points: Point[] = [];
  for (const size of [112, 224, 448, 672, 896]) {
    const tokens = tokensOf(size);
    points.push({ name: `${tokens} tokens`, x: tokens, value: await allocatedFor(gpu, encoder, size) });
  }
  const grown = [
    grow("ViT-S/14, an image's embedding", axes, points),
    grow(
      "attention of one block of it, with gradient",
      axes,
      (await measureAttentionMemory(gpu)).map(({ tokens, mebibytes }) => ({
        ...{ name: `${tokens} tokens`, x: tokens, value: mebibytes },
      })),
    ),
  ];
  return { rows: grown.flatMap(({ rows }) => rows), curves: grown.map(({ curve }) => curve) };
}

/** Rows and curves of the section on memory. */
export async function measureVitMemory(gpu: Gpu): Promise<{ rows: Row[]; curves: Curve[] }> {
  const { rows, curves } = await growWithTokens(gpu);
  return { rows: [...planVits(gpu), ...rows], curves };
}

/** Rows of what the program's plan takes. Nothing is run. */
function planVits(gpu: Gpu): Row[] {
  // As on a device that binds as much as it is given.
  const target = { ...gpu.target, maxStorageBufferBindingSize: 2 ** 40 };
  return PLANNED.map(([name, batch, imageSize]) => {
    const encoder = findEncoder(name);
    const plan = (mixedPrecision: boolean) =>
      scheduleEncoder(target, {
        ...{ encoder, head: usualHead(encoder), batch, imageSize, mixedPrecision },
        output: "normalized",
      }).plan.bytes;
    const tokens = tokensOf(imageSize);
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
