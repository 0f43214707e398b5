// `--amp`: a frozen encoder's products read float16 weights, and an encoder that is trained keeps float32 ones.
import { assert, assertEquals, assertLess, assertNotEquals, assertRejects } from "@std/assert";
import { UserError } from "../../errors.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { byteLength, Graph } from "../../kernels/graph.ts";
import { globalAveragePool } from "../../kernels/ops/global_average_pool/global_average_pool.ts";
import { GPU_TUNING } from "../../kernels/tuning/tuning.ts";
import type { Encoder } from "../../models/encoder.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import { projectionHead } from "../../models/heads.ts";
import { FrozenEncoder } from "../../models/inference.ts";
import { initialize, type StateValues } from "../../models/initialize.ts";
import { findEncoder, summarize, usualHead } from "../../models/registry.ts";
import { relativeError, withGpu } from "../kernels/check_op.ts";
import { IS_LONG } from "../long.ts";
import { skip } from "../skip.ts";
import { formulaImages } from "./reference_encoder.ts";
import { TINY_ENCODER } from "./tiny_encoder.ts";

const SIZE = 32;

/** Its entries of convolutions and linear layers, heads apart, begin with one of these. */
const PRODUCTS = /^(patch_embed\.proj|blocks\.\d+\.(attn|mlp)\.\w+)\.weight$/;

const weightsOf = (encoder: Encoder) => initialize(summarize(encoder, usualHead(encoder)).state, 1);

/** The same weights, those of products rounded to float16. */
function rounded(weights: StateValues): StateValues {
  return new Map([...weights].map(([key, values]) => [
    key,
    PRODUCTS.test(key) ? Float32Array.from(new Float16Array(values)) : values,
  ]));
}

async function embed(
  gpu: Gpu,
  encoder: Encoder,
  weights: StateValues,
  mixedPrecision: boolean,
): Promise<Float32Array> {
  using frozen = await FrozenEncoder.create(gpu, {
    ...{ encoder, head: usualHead(encoder), batch: 2, imageSize: SIZE, mixedPrecision },
    ...{ input: "normalized", output: "normalized" },
  });
  await frozen.load((key) => weights.get(key)!);
  return await frozen.embed(formulaImages("input/half", 2, SIZE));
}

function halfTest(name: string, test: (gpu: Gpu) => Promise<void>, { ignore = false } = {}): void {
  Deno.test(
    name,
    { ignore },
    () =>
      withGpu(async (gpu) =>
        gpu.adapter.hasHalf ? await test(gpu) : skip(name, "the adapter has no float16")
      ),
  );
}

// Without LayerScale and batch norm nothing is folded into these weights.
halfTest(
  "in mixed precision a frozen encoder's products read float16 weights, of either kind of kernel",
  async (gpu) => {
    const encoder = findEncoder("dino_vit_p16_w64_b2_h2_f256_r0_g2");
    const weights = weightsOf(encoder);
    const staged = { ...gpu, target: { ...gpu.target, isSoftware: false, tuning: GPU_TUNING } };
    let exact: Float32Array = new Float32Array();
    for (const device of [gpu, staged]) {
      // Once is enough to show what rounding does, unless there is time.
      if (device === gpu || IS_LONG) {
        exact = await embed(device, encoder, weights, false);
        assertNotEquals(await embed(device, encoder, rounded(weights), false), exact);
      }
      const half = await embed(device, encoder, weights, true);
      assertEquals(await embed(device, encoder, rounded(weights), true), half);
      assertLess(relativeError(half, exact), 2e-3);
    }
  },
);

/** Two convolutions of a residual block: a ResNet's kernels without its many shapes, each of which is compiled. */
const RESIDUAL: Encoder = {
  ...TINY_ENCODER,
  name: "a residual block",
  features: 64,
  trace(b, images, head) {
    const layer = (key: string, inputs: number, stride: number) => ({
      convolution: b.convolution(`${key}.conv`, { inputs, outputs: 64, kernel: 3, stride, padding: 1 }),
      norm: b.batchNorm(`${key}.norm`, 64),
    });
    const [first, second] = [layer("0", 3, 2), layer("1", 64, 1)];
    const project = projectionHead(b, "fc", 64, head);
    const x = b.convolveAndNormalize(images, first.convolution, first.norm, { activation: "relu" });
    const y = b.convolveAndNormalize(x, second.convolution, second.norm, { activation: "relu", residual: x });
    const feature = b.graph.apply(globalAveragePool, [y], {});
    return { feature, embedding: project(feature) };
  },
};

for (
  const [encoder, what] of [
    [RESIDUAL, "with batch norm folded into them"],
    [findEncoder("resnet18"), "with batch norm folded into them"],
    [findEncoder("dinov2_vit_p8_w64_b2_h1_f192_r2_g4"), "with LayerScale folded into them"],
  ] as const
) {
  halfTest(
    `embeddings by float16 weights are near those by float32: ${encoder.name}, ${what}`,
    async (gpu) => {
      const weights = weightsOf(encoder);
      const [exact, half] = [
        await embed(gpu, encoder, weights, false),
        await embed(gpu, encoder, weights, true),
      ];
      assertNotEquals(half, exact);
      assertLess(relativeError(half, exact), 4e-3);
    },
    { ignore: encoder.name === "resnet18" && !IS_LONG },
  );
}

halfTest("float16 weights that are cut to be bound embed the same", async (gpu) => {
  const encoder = findEncoder("dino_vit_p16_w64_b2_h2_f256_r0_g2");
  const weights = weightsOf(encoder);
  const limited = { ...gpu, target: { ...gpu.target, maxStorageBufferBindingSize: 2 ** 15 } };
  const [whole, cut] = [
    await embed(gpu, encoder, weights, true),
    await embed(limited, encoder, weights, true),
  ];
  assertLess(relativeError(cut, whole), 1e-3);
});

halfTest("a weight that is too large for float16 is refused, with the way out", async (gpu) => {
  const encoder = findEncoder("dino_vit_p16_w64_b2_h2_f256_r0_g2");
  const weights = weightsOf(encoder);
  weights.get("blocks.1.mlp.fc1.weight")![3] = 70_000;
  await assertRejects(
    () => embed(gpu, encoder, weights, true),
    UserError,
    "blocks.1.mlp.fc1.weight: 70000 is too large for float16, whose largest number is 65504; leave --amp out",
  );
});

Deno.test("float16 halves what a frozen encoder's weights take, and no weight that is trained is float16", () => {
  const encoder = findEncoder("vit_small");
  const bytesOf = (mode: "train" | "eval", halfWeights: boolean) => {
    const graph = new Graph();
    const builder = new EncoderBuilder(graph, mode, { halfWeights });
    encoder.trace(builder, graph.source("images", [1, 224, 224, 3]), usualHead(encoder));
    if (mode === "train") assert(builder.parameters.every(({ tensor }) => tensor.dtype === "f32"));
    return builder.parameters.reduce((sum, { tensor }) => sum + byteLength(tensor), 0);
  };
  const [half, whole] = [bytesOf("eval", true), bytesOf("eval", false)];
  assertLess(half, 0.51 * whole); // biases, norms and positions are 0.5 percent
  assertEquals(bytesOf("train", true), bytesOf("train", false));
});
