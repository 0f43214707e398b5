/** MobileNetV3 (Howard et al. 2019): `mobilenetv3.py` of the original. */
import type { Tensor } from "../kernels/graph.ts";
import type { Activation } from "../kernels/ops/activation/activation.ts";
import { globalAveragePool } from "../kernels/ops/global_average_pool/global_average_pool.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";
import type { Initial } from "./encoder_layers.ts";
import { projectionHead } from "./heads.ts";
import { type Encoder, nameWithStem } from "./encoder.ts";
import { roundChannels, squeezeAndExcite } from "./squeeze_excite.ts";

/** Kernel, expansion, output channels, squeeze-and-excite, h-swish (else ReLU), stride: tables 1 and 2 of the paper. */
type BlockShape = readonly [number, number, number, boolean, boolean, number];

const SIZES: Record<"large" | "small", { blocks: readonly BlockShape[]; classifier: number }> = {
  large: {
    blocks: [
      [3, 1, 16, false, false, 1],
      [3, 4, 24, false, false, 2],
      [3, 3, 24, false, false, 1],
      [5, 3, 40, true, false, 2],
      [5, 3, 40, true, false, 1],
      [5, 3, 40, true, false, 1],
      [3, 6, 80, false, true, 2],
      [3, 2.5, 80, false, true, 1],
      [3, 2.3, 80, false, true, 1],
      [3, 2.3, 80, false, true, 1],
      [3, 6, 112, true, true, 1],
      [3, 6, 112, true, true, 1],
      [5, 6, 160, true, true, 2],
      [5, 6, 160, true, true, 1],
      [5, 6, 160, true, true, 1],
    ],
    classifier: 1280,
  },
  small: {
    blocks: [
      [3, 1, 16, true, false, 2],
      [3, 4.5, 24, false, false, 2],
      [3, 3.67, 24, false, false, 1],
      [5, 4, 40, true, true, 2],
      [5, 6, 40, true, true, 1],
      [5, 6, 40, true, true, 1],
      [5, 3, 48, true, true, 1],
      [5, 3, 48, true, true, 1],
      [5, 6, 96, true, true, 2],
      [5, 6, 96, true, true, 1],
      [5, 6, 96, true, true, 1],
    ],
    classifier: 1024,
  },
};

/** How the original draws the weights of linear layers, with biases of 0. */
const LINEAR_WEIGHTS: Initial = { draw: "normal", deviation: 0.01 };

/** Dropout behind the classifier's layer, in training. */
const DROPOUT = 0.2;

/** An inverted residual block: [n, h, w, in] -> [n, h / stride, w / stride, out]. */
function block(b: EncoderBuilder, key: string, x: Tensor, shape: BlockShape): Tensor {
  const [kernel, expansion, outputs, excite, hard, stride] = shape;
  const inputs = x.shape[3];
  const channels = roundChannels(inputs * expansion);
  const activation: Activation = hard ? "hard_swish" : "relu";
  let layer = 0;
  const next = () => `${key}.conv.${layer++}`;

  const expand = channels !== inputs;
  let y = x;
  if (expand) {
    const convolution = b.convolution(next(), { inputs, outputs: channels, kernel: 1 });
    y = b.convolveAndNormalize(y, convolution, b.batchNorm(next(), channels), { activation });
    layer++; // the activation
  }
  const depthwise = b.convolution(next(), {
    inputs: channels,
    outputs: channels,
    kernel,
    stride,
    padding: (kernel - 1) / 2,
    depthwise: true,
  });
  const norm = b.batchNorm(next(), channels);
  // With an expansion the activation comes behind squeeze-and-excite, without one before it.
  const first = excite && expand ? undefined : activation;
  y = b.convolveAndNormalize(y, depthwise, norm, { activation: first });
  if (!expand) layer++;
  const place = next();
  if (excite) {
    const reduced = roundChannels(Math.floor(channels / 4));
    y = squeezeAndExcite(b, y, {
      reduce: b.linear(`${place}.fc.0`, channels, reduced, LINEAR_WEIGHTS),
      inner: "relu",
      expand: b.linear(`${place}.fc.2`, reduced, channels, LINEAR_WEIGHTS),
      gate: "hard_sigmoid",
      activation: expand ? activation : undefined,
    });
  }
  if (expand) layer++;
  const project = b.convolution(next(), { inputs: channels, outputs, kernel: 1 });
  const projectNorm = b.batchNorm(next(), outputs);
  const residual = stride === 1 && inputs === outputs ? x : undefined;
  return b.convolveAndNormalize(y, project, projectNorm, { residual });
}

/** MobileNetV3 of a size. Its feature is what enters `fc`: behind `classifier`, not the pooled image. */
export function mobileNetV3(size: keyof typeof SIZES): Encoder {
  const name = `mobilenetv3_${size}`;
  const cifar: Encoder = { ...withStride(size, nameWithStem(name, "cifar"), 1), stem: "cifar" };
  return { ...withStride(size, name, 2), cifar };
}

/** The encoder whose first convolution has a stride. */
function withStride(size: keyof typeof SIZES, name: string, stride: 1 | 2): Encoder {
  const { blocks, classifier } = SIZES[size];
  return {
    name,
    family: "MobileNetV3",
    original: "mobilenetv3.py of the original SEED (torchvision's has other keys and another epsilon)",
    roles: ["teacher", "student"],
    ssl: "moco",
    head: "mlp",
    features: classifier,
    headDropout: DROPOUT,
    trace(b, images, head) {
      const stem = b.convolution("features.0.0", {
        inputs: 3,
        outputs: 16,
        kernel: 3,
        stride,
        padding: 1,
      });
      const stemNorm = b.batchNorm("features.0.1", 16);
      let x = b.convolveAndNormalize(images, stem, stemNorm, { activation: "hard_swish" });
      for (const [i, shape] of blocks.entries()) x = block(b, `features.${i + 1}`, x, shape);
      const [, expansion, inputs] = blocks.at(-1)!;
      const channels = roundChannels(inputs * expansion);
      const last = b.convolution("conv.0", { inputs, outputs: channels, kernel: 1 });
      x = b.convolveAndNormalize(x, last, b.batchNorm("conv.1", channels), { activation: "hard_swish" });
      const pooled = b.graph.apply(globalAveragePool, [x], {});
      const hidden = b.linear("classifier.0", channels, classifier, LINEAR_WEIGHTS);
      const feature = b.convolve(pooled, hidden, { activation: "hard_swish" });
      // Its last layer is the encoder's own `fc`, which SEED's builder puts a layer in front of.
      const project = projectionHead(b, "fc", classifier, head, classifier, LINEAR_WEIGHTS);
      return { feature, map: () => x, embedding: project(b.dropout(feature, DROPOUT)) };
    },
  };
}
