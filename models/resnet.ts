/**
 * ResNet-18, 34, 50, 101 and 152 (He et al. 2016), as torchvision builds them, and MoCo's wide ones: `moco_resnet.py`
 * of the original.
 */
import type { Tensor } from "../kernels/graph.ts";
import { globalAveragePool } from "../kernels/ops/global_average_pool/global_average_pool.ts";
import { maxPool } from "../kernels/ops/max_pool/max_pool.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";
import { projectionHead } from "./heads.ts";
import { type Encoder, nameWithStem, type Stem } from "./encoder.ts";

/** A residual block: declares its layers, applies them, and returns [n, h / stride, w / stride, out]. */
type Block = (b: EncoderBuilder, key: string, x: Tensor, channels: number, stride: number) => Tensor;

/** Two 3x3 convolutions. */
const basicBlock: Block = (b, key, x, channels, stride) => {
  const inputs = x.shape[3];
  const conv1 = b.convolution(`${key}.conv1`, { inputs, outputs: channels, kernel: 3, stride, padding: 1 });
  const bn1 = b.batchNorm(`${key}.bn1`, channels);
  const conv2 = b.convolution(`${key}.conv2`, { inputs: channels, outputs: channels, kernel: 3, padding: 1 });
  const bn2 = b.batchNorm(`${key}.bn2`, channels);
  const residual = shortcut(b, key, x, channels, stride);
  const y = b.convolveAndNormalize(x, conv1, bn1, { activation: "relu" });
  return b.convolveAndNormalize(y, conv2, bn2, { activation: "relu", residual });
};

/** 1x1 down to the block's channels, 3x3 with the stride (torchvision's v1.5), 1x1 up to four times as many. */
const bottleneck: Block = (b, key, x, channels, stride) => {
  const inputs = x.shape[3];
  const outputs = channels * 4;
  const conv1 = b.convolution(`${key}.conv1`, { inputs, outputs: channels, kernel: 1 });
  const bn1 = b.batchNorm(`${key}.bn1`, channels);
  const conv2 = b.convolution(`${key}.conv2`, {
    inputs: channels,
    outputs: channels,
    kernel: 3,
    stride,
    padding: 1,
  });
  const bn2 = b.batchNorm(`${key}.bn2`, channels);
  const conv3 = b.convolution(`${key}.conv3`, { inputs: channels, outputs, kernel: 1 });
  const bn3 = b.batchNorm(`${key}.bn3`, outputs);
  const residual = shortcut(b, key, x, outputs, stride);
  const y = b.convolveAndNormalize(x, conv1, bn1, { activation: "relu" });
  const z = b.convolveAndNormalize(y, conv2, bn2, { activation: "relu" });
  return b.convolveAndNormalize(z, conv3, bn3, { activation: "relu", residual });
};

/** The identity, or a 1x1 convolution where the block changes the shape. */
function shortcut(b: EncoderBuilder, key: string, x: Tensor, outputs: number, stride: number): Tensor {
  const inputs = x.shape[3];
  if (stride === 1 && inputs === outputs) return x;
  const convolution = b.convolution(`${key}.downsample.0`, { inputs, outputs, kernel: 1, stride });
  const norm = b.batchNorm(`${key}.downsample.1`, outputs);
  return b.convolveAndNormalize(x, convolution, norm);
}

/** Block and blocks per stage of each depth. */
const DEPTHS = {
  18: { block: basicBlock, stages: [2, 2, 2, 2], features: 512 },
  34: { block: basicBlock, stages: [3, 4, 6, 3], features: 512 },
  50: { block: bottleneck, stages: [3, 4, 6, 3], features: 2048 },
  101: { block: bottleneck, stages: [3, 4, 23, 3], features: 2048 },
  152: { block: bottleneck, stages: [3, 8, 36, 3], features: 2048 },
} as const satisfies Record<number, { block: Block; stages: readonly number[]; features: number }>;

/** Depths of ResNets. */
export type ResNetDepth = keyof typeof DEPTHS;

/** The shape of a ResNet. */
export interface ResNetShape {
  depth: ResNetDepth;
  /** Factor of the channels of every block; 1 where left out. */
  width?: number;
  /** Channels of the first convolution; 64 where left out. */
  stemWidth?: number;
  /** First layers; `imagenet` where left out. */
  stem?: Stem;
  /** What stands before every key, e.g. `module.`. */
  prefix?: string;
}

/** The first convolution of each stem; only the first one has a pooling behind it. */
const FIRST = {
  imagenet: { kernel: 7, stride: 2, padding: 3 },
  cifar: { kernel: 3, stride: 1, padding: 1 },
  cifar_pad2: { kernel: 3, stride: 1, padding: 2 },
} as const satisfies Record<Stem, object>;

/** Length of the pooled feature. */
export function resnetFeatures({ depth, width = 1 }: ResNetShape): number {
  return DEPTHS[depth].features * width;
}

/** Traces everything but the head: images [n, h, w, 3] -> the feature [n, 1, 1, features], and the map that it is the mean of. */
export function traceResNet(
  b: EncoderBuilder,
  images: Tensor,
  { depth, width = 1, stemWidth = 64, stem = "imagenet", prefix = "" }: ResNetShape,
): { feature: Tensor; map(): Tensor } {
  const { block, stages } = DEPTHS[depth];
  const conv1 = b.convolution(`${prefix}conv1`, {
    inputs: 3,
    outputs: stemWidth,
    ...FIRST[stem],
  });
  const bn1 = b.batchNorm(`${prefix}bn1`, stemWidth);
  const y = b.convolveAndNormalize(images, conv1, bn1, { activation: "relu" });
  let [x] = stem === "imagenet" ? b.graph.applyAll(maxPool, [y], { kernel: 3, stride: 2, padding: 1 }) : [y];
  for (const [stage, blocks] of stages.entries()) {
    for (let i = 0; i < blocks; i++) {
      const stride = stage > 0 && i === 0 ? 2 : 1;
      x = block(b, `${prefix}layer${stage + 1}.${i}`, x, 64 * width * 2 ** stage, stride);
    }
  }
  return { feature: b.graph.apply(globalAveragePool, [x], {}), map: () => x };
}

/** The encoder of a depth, with MoCo's head under `fc`. */
export function resnet(depth: ResNetDepth): Encoder {
  const name = `resnet${depth}`;
  const torchvision = { original: `torchvision.models.${name}`, torchvision: name };
  const withStem = (stem: Stem): Encoder => ({
    ...mocoEncoder(nameWithStem(name, stem), "ResNet", { depth, stem }),
    ...torchvision,
    stem,
  });
  return { ...withStem("imagenet"), cifar: withStem("cifar"), cifarPad2: withStem("cifar_pad2") };
}

/**
 * MoCo's wide ResNet-50: the blocks have `width` times the channels, their outputs too (other than torchvision's
 * `wide_resnet50_2`), and the first convolution keeps its 64.
 */
export function mocoWideResNet50(width: number): Encoder {
  return mocoEncoder(`moco_resnet50w${width}`, "wide ResNet of MoCo", { depth: 50, width });
}

function mocoEncoder(name: string, family: string, shape: ResNetShape): Encoder {
  const features = resnetFeatures(shape);
  return {
    name,
    family,
    roles: shape.width === undefined ? ["teacher", "student"] : ["teacher"],
    features,
    ssl: "moco",
    head: "mlp",
    trace(b, images, head) {
      const traced = traceResNet(b, images, shape);
      return { ...traced, embedding: projectionHead(b, "fc", features, head)(traced.feature) };
    },
  };
}
