import { assert, assertEquals, assertLess, assertThrows } from "@std/assert";
import { UserError } from "../../../errors.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import type { Op, Tensor } from "../../../kernels/graph.ts";
import { padRows } from "../../../kernels/layout.ts";
import { activate, type Activation } from "../../../kernels/ops/activation/activation.ts";
import { attention } from "../../../kernels/ops/attention/attention.ts";
import {
  concatenateChannels,
  sliceChannels,
} from "../../../kernels/ops/concatenate_channels/concatenate_channels.ts";
import { swiglu } from "../../../kernels/ops/gated_activation/gated_activation.ts";
import { matmulBatched } from "../../../kernels/ops/matmul_batched/matmul_batched.ts";
import { multiply } from "../../../kernels/ops/multiply/multiply.ts";
import { prependTokens, sliceTokens } from "../../../kernels/ops/prepend_tokens/prepend_tokens.ts";
import { reshape } from "../../../kernels/ops/reshape/reshape.ts";
import { scaledResidual } from "../../../kernels/ops/scaled_residual/scaled_residual.ts";
import { logSoftmax, softmax } from "../../../kernels/ops/softmax/softmax.ts";
import { globalAveragePool } from "../../../kernels/ops/global_average_pool/global_average_pool.ts";
import type { Encoder } from "../../../models/encoder.ts";
import { inputOf } from "../../../models/encoder_input.ts";
import { writeOnnxFile } from "../../../models/export/onnx_file.ts";
import { traceOnnxModel } from "../../../models/export/onnx_model.ts";
import { FrozenEncoder } from "../../../models/inference.ts";
import { summarize } from "../../../models/registry.ts";
import { relativeError, withGpu } from "../../kernels/check_op.ts";
import { ACTIVATION_FUNCTIONS } from "../../kernels/ops/activation_functions.ts";
import { formulaTensor } from "../../reference.ts";
import { withFolder } from "../checkpoint/fixtures.ts";
import { formulaImages, formulaReader } from "../reference_encoder.ts";
import { decodeOnnx, runOnnx } from "./onnx_runtime.ts";

const HEAD = { kind: "linear", dimension: 5 } as const;
const [BATCH, SIZE] = [2, 6];

/** A convolution with an activation in its epilogue, the same one on its own, and the mean. */
const withActivation = (activation: Activation): Encoder => ({
  name: "activated",
  family: "tests",
  roles: ["student"],
  ssl: "moco",
  head: "linear",
  features: 5,
  trace(b, images) {
    const layer = b.convolution("layer", { inputs: 3, outputs: 5, kernel: 1, bias: true });
    const x = b.graph.apply(activate, [b.convolve(images, layer, { activation })], { activation });
    const feature = b.graph.apply(globalAveragePool, [x], {});
    return { feature, embedding: feature };
  },
});

/** Similarities of an image's pixels and what follows from them: ops on rows of channels that no frozen encoder here has. */
const WITH_ROWS: Encoder = {
  ...withActivation("relu"),
  name: "rows",
  features: 12,
  trace(b, images) {
    const layer = b.convolution("layer", { inputs: 3, outputs: 8, kernel: 1, bias: true });
    b.value("gamma", [8], { draw: "constant", value: 1 });
    const gamma = b.made("gamma", [8], { keys: ["gamma"], toDevice: ([values]) => padRows(values, [8]) });
    const { graph } = b;
    const [batch, height, width] = images.shape;
    const pixels = b.convolve(images, layer);
    const rows = graph.apply(reshape, [pixels], { shape: [batch, height * width, 8] });
    const tokens = graph.apply(reshape, [pixels], { shape: [batch, height * width, 1, 8] });
    const scores = graph.apply(matmulBatched, [rows, rows], { transposeB: true });
    const weights = graph.apply(softmax, [scores], {});
    const attended = graph.apply(matmulBatched, [weights, rows], { transposeA: true });
    const column = graph.apply(reshape, [attended], { shape: [batch, height * width, 1, 8] });
    const scaled = graph.apply(scaledResidual, [column, gamma, tokens], {});
    const halves = [0, 4].map((first) => graph.apply(sliceChannels, [scaled], { first, count: 4 }));
    const gated = graph.apply(
      swiglu,
      [graph.apply(swiglu, [scaled], {}), graph.apply(swiglu, halves, {})],
      {},
    );
    const logs = graph.apply(multiply, [graph.apply(logSoftmax, [scaled], {}), scaled], {});
    const all = graph.apply(concatenateChannels, [gated, logs], {});
    const image = graph.apply(reshape, [all], { shape: [batch, height, width, 12] });
    const pool = (x: Tensor) => graph.apply(globalAveragePool, [x], {});
    const first = graph.apply(sliceChannels, [pool(all)], { first: 0, count: 8 });
    const last = graph.apply(sliceChannels, [image], { first: 8, count: 4 });
    const feature = graph.apply(concatenateChannels, [first, pool(last)], {});
    return { feature, embedding: feature };
  },
};

/** Layers that are called as outputs are, each with an activation behind it. */
const NAMED_AS_OUTPUTS: Encoder = {
  ...withActivation("relu"),
  name: "named",
  trace(b, images) {
    const layers = ["normalized", "feature", "embedding"].map((name) => b.linear(name, 5, 5));
    const stem = b.convolution("stem", { inputs: 3, outputs: 5, kernel: 1, bias: true });
    const pooled = b.graph.apply(globalAveragePool, [b.convolve(images, stem)], {});
    const through = (x: Tensor, layer: typeof layers[number]) => b.convolve(x, layer, { activation: "relu" });
    const feature = through(through(pooled, layers[0]), layers[1]);
    return { feature, embedding: through(feature, layers[2]) };
  },
};

/** A class token before those of patches, without layer norms. */
const WITH_CLASS_TOKEN: Encoder = {
  ...withActivation("relu"),
  name: "tokens",
  features: 8,
  trace(b, images) {
    const patches = b.convolution("patches", { inputs: 3, outputs: 8, kernel: 2, stride: 2, bias: true });
    const classToken = b.tokens("cls_token", [1, 1, 8], { draw: "constant", value: 0 });
    const tokens = b.graph.apply(prependTokens, [b.convolve(images, patches), classToken], {});
    const packed = b.convolve(tokens, b.linear("qkv", 8, 24));
    const attended = b.graph.apply(attention, [packed], { heads: 2, rope: false });
    const feature = b.graph.apply(sliceTokens, [attended], { first: 0, count: 1 });
    return { feature, embedding: feature };
  },
};

/** An encoder's outputs of one name from onnxruntime, and from this program; and the model that onnxruntime ran. */
async function bothOutputs(
  gpu: Gpu,
  encoder: Encoder,
  output: "feature" | "embedding" | "normalized" = "feature",
) {
  const read = formulaReader(summarize(encoder, HEAD, SIZE).state);
  using frozen = await FrozenEncoder.create(gpu, {
    encoder,
    head: HEAD,
    batch: BATCH,
    imageSize: SIZE,
    input: "normalized",
    output,
  });
  await frozen.load(read);
  const expected = await frozen.embed(formulaImages("images", BATCH, SIZE));
  return await withFolder(async (folder) => {
    const path = `${folder}/model.onnx`;
    const input = inputOf(encoder, { imageSize: SIZE, cropRatio: 1 });
    const part = output === "feature" ? "backbone" : "encoder";
    const normalize = output === "normalized";
    const traced = traceOnnxModel({ encoder, head: HEAD, part, normalize, input });
    await writeOnnxFile(path, traced, { read: (key) => Promise.resolve(read(key)) });
    const shape = [BATCH, 3, SIZE, SIZE];
    const images = formulaTensor("images", shape, "image");
    const model = Deno.readFileSync(path);
    const outputs = await runOnnx(model, images, shape);
    return { found: outputs[output], names: Object.keys(outputs), expected, model: decodeOnnx(model) };
  });
}

for (const activation of Object.keys(ACTIVATION_FUNCTIONS) as Activation[]) {
  Deno.test(`onnxruntime computes ${activation} as this program does`, () =>
    withGpu(async (gpu) => {
      const { found, expected } = await bothOutputs(gpu, withActivation(activation));
      assertEquals(found.shape, [BATCH, 5]);
      assertLess(relativeError(found.data, expected), 1e-6);
    }));
}

Deno.test("onnxruntime computes softmax, batched products and the other ops on rows as this program does", () =>
  withGpu(async (gpu) => {
    const { found, expected } = await bothOutputs(gpu, WITH_ROWS);
    assertEquals(found.shape, [BATCH, 12]);
    assertLess(relativeError(found.data, expected), 1e-6);
  }));

for (const output of ["feature", "embedding", "normalized"] as const) {
  Deno.test(`an exported model's ${output} is that of the encoder, whatever the encoder calls its layers`, () =>
    withGpu(async (gpu) => {
      const { found, names, expected } = await bothOutputs(gpu, NAMED_AS_OUTPUTS, output);
      assertEquals(names, output === "feature" ? ["feature"] : [output, "feature"]);
      assertEquals(found.shape, [BATCH, 5]);
      assert(expected.some((value) => value > 0) && expected.some((value) => value === 0));
      assertLess(relativeError(found.data, expected), 1e-6);
    }));
}

Deno.test("a model with tokens and without layer norms is of the operator set that reads a part of a shape", () =>
  withGpu(async (gpu) => {
    const { found, expected, model } = await bothOutputs(gpu, WITH_CLASS_TOKEN);
    assertLess(relativeError(found.data, expected), 1e-6);
    assertEquals([model.opsetImport, model.irVersion], [[{ domain: "", version: 15 }], 8]);
  }));

Deno.test("an op without a rule, as a plugin may have, is refused by its name", () => {
  const softsign: Op<Record<never, never>> = {
    name: "softsign",
    shape: ([x]) => [{ shape: x.shape }],
    lower: () => {},
  };
  const encoder: Encoder = {
    ...withActivation("relu"),
    trace(b, images, head) {
      const { feature } = withActivation("relu").trace(b, images, head);
      return { feature, embedding: b.graph.apply(softsign, [feature], {}) };
    },
  };
  const input = inputOf(encoder, { imageSize: SIZE });
  const options = { encoder, head: HEAD, input, normalize: false };
  assertThrows(
    () => traceOnnxModel({ ...options, part: "encoder" }),
    UserError,
    'ONNX: no rule for the op "softsign"; use another --format, which has the weights alone',
  );
  traceOnnxModel({ ...options, part: "backbone" }); // it does not depend on the op
});
