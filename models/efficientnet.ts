/** EfficientNet-B0 to B7 (Tan and Le 2019): `efficientnet.py` of the original. */
import type { Tensor } from "../kernels/graph.ts";
import { globalAveragePool } from "../kernels/ops/global_average_pool/global_average_pool.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";
import type { Convolution, ConvolutionOptions, Padding } from "./encoder_layers.ts";
import { projectionHead } from "./heads.ts";
import { type Encoder, nameWithStem, requireSize } from "./encoder.ts";
import { roundChannels, squeezeAndExcite } from "./squeeze_excite.ts";

/** Repeats, kernel, stride of the first, expansion, output channels: table 1 of the paper. */
const STAGES: readonly (readonly [number, number, number, number, number])[] = [
  [1, 3, 1, 1, 16],
  [2, 3, 2, 6, 24],
  [2, 5, 2, 6, 40],
  [3, 3, 2, 6, 80],
  [3, 5, 1, 6, 112],
  [4, 5, 2, 6, 192],
  [1, 3, 1, 6, 320],
];

/** Width and depth factor, side of the images, dropout of B0 to B7. */
const COEFFICIENTS = [
  [1.0, 1.0, 224, 0.2],
  [1.0, 1.1, 240, 0.2],
  [1.1, 1.2, 260, 0.3],
  [1.2, 1.4, 300, 0.3],
  [1.4, 1.8, 380, 0.4],
  [1.6, 2.2, 456, 0.4],
  [1.8, 2.6, 528, 0.5],
  [2.0, 3.1, 600, 0.5],
] as const;

/** Share of the images that the last block is left out for in training; earlier blocks in proportion. */
const DROP_CONNECT = 0.2;

const STEM_KERNEL = 3;

const NORM = { epsilon: 1e-3, momentum: 0.01 };

/** Share of a block's input channels that squeeze-and-excite reduces to. */
const SQUEEZE = 0.25;

/**
 * TensorFlow's SAME padding for images of `size`; the odd pixel goes to the bottom and right. The original fixes it
 * when the model is made, for the model's own image size, and keeps it for others.
 */
function samePadding(size: number, kernel: number, stride: number): Padding {
  const total = Math.max(0, (Math.ceil(size / stride) - 1) * stride + kernel - size);
  const before = Math.floor(total / 2);
  return { padTop: before, padLeft: before, padBottom: total - before, padRight: total - before };
}

/** Declares convolutions with PyTorch's own initialisation, which the original leaves as it is. */
function declare(b: EncoderBuilder, key: string, options: ConvolutionOptions): Convolution {
  const { inputs, kernel, depthwise } = options;
  const fanIn = (depthwise ? 1 : inputs) * kernel * kernel;
  return b.convolution(key, { ...options, initial: { draw: "uniform", bound: 1 / Math.sqrt(fanIn) } });
}

interface Block {
  kernel: number;
  stride: number;
  expansion: number;
  outputs: number;
  /** Side of the map that the padding is made for: the block's, of the model's own images. */
  size: number;
}

interface BlockOptions extends Block {
  /** Share of the images that training leaves the block out for. */
  dropRate: number;
}

/** An inverted residual block with squeeze-and-excite: [n, h, w, in] -> [n, h / stride, w / stride, outputs]. */
function block(b: EncoderBuilder, key: string, x: Tensor, options: BlockOptions): Tensor {
  const { kernel, stride, expansion, outputs, size, dropRate } = options;
  const inputs = x.shape[3];
  const channels = inputs * expansion;
  let y = x;
  if (expansion !== 1) {
    const expand = declare(b, `${key}._expand_conv`, { inputs, outputs: channels, kernel: 1 });
    y = b.convolveAndNormalize(y, expand, b.batchNorm(`${key}._bn0`, channels, NORM), {
      activation: "swish",
    });
  }
  const depthwise = declare(b, `${key}._depthwise_conv`, {
    inputs: channels,
    outputs: channels,
    kernel,
    stride,
    padding: samePadding(size, kernel, stride),
    depthwise: true,
  });
  y = b.convolveAndNormalize(y, depthwise, b.batchNorm(`${key}._bn1`, channels, NORM), {
    activation: "swish",
  });
  const squeezed = Math.max(1, Math.floor(inputs * SQUEEZE));
  y = squeezeAndExcite(b, y, {
    reduce: declare(b, `${key}._se_reduce`, { inputs: channels, outputs: squeezed, kernel: 1, bias: true }),
    inner: "swish",
    expand: declare(b, `${key}._se_expand`, { inputs: squeezed, outputs: channels, kernel: 1, bias: true }),
    gate: "sigmoid",
  });
  const project = declare(b, `${key}._project_conv`, { inputs: channels, outputs, kernel: 1 });
  const norm = b.batchNorm(`${key}._bn2`, outputs, NORM);
  return stride === 1 && inputs === outputs
    ? b.convolveNormalizeAndAdd(y, project, norm, x, dropRate)
    : b.convolveAndNormalize(y, project, norm);
}

type Scale = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;

/** EfficientNet-B`scale`. */
export function efficientNet(scale: Scale): Encoder {
  const name = `efficientnet_b${scale}`;
  const cifar: Encoder = { ...withStride(scale, nameWithStem(name, "cifar"), 1), stem: "cifar" };
  return { ...withStride(scale, name, 2), cifar };
}

/** The blocks of EfficientNet-B`scale`, behind a first convolution with a stride. */
function blocksOf(scale: Scale, stemStride: number): Block[] {
  const [width, depth, imageSize] = COEFFICIENTS[scale];
  const blocks: Block[] = [];
  let size = Math.ceil(imageSize / stemStride);
  for (const [repeats, kernel, firstStride, expansion, channels] of STAGES) {
    for (let i = 0; i < Math.ceil(repeats * depth); i++) {
      const stride = i === 0 ? firstStride : 1;
      blocks.push({ kernel, stride, expansion, outputs: roundChannels(channels * width), size });
      size = Math.ceil(size / stride);
    }
  }
  return blocks;
}

/** Side of the smallest images that leave every convolution a place: paddings stay those of the model's own images. */
function smallestImage(scale: Scale, stemStride: number): number {
  const stem = { size: COEFFICIENTS[scale][2], kernel: STEM_KERNEL, stride: stemStride };
  const layers = [stem, ...blocksOf(scale, stemStride)];
  const fits = (side: number) =>
    layers.reduce((places, { size, kernel, stride }) => {
      const { padTop, padBottom } = samePadding(size, kernel, stride);
      return Math.floor((places + padTop + padBottom - kernel) / stride) + 1; // none stays none
    }, side) > 0;
  let side = 1;
  while (!fits(side)) side++;
  return side;
}

/** The encoder whose first convolution has a stride. */
function withStride(scale: Scale, name: string, stemStride: 1 | 2): Encoder {
  const [width, , imageSize, headDropout] = COEFFICIENTS[scale];
  const widen = (channels: number) => roundChannels(channels * width);
  const features = widen(1280);
  const smallest = smallestImage(scale, stemStride);
  return {
    name,
    family: "EfficientNet",
    original: "efficientnet.py of the original SEED (torchvision's has other keys and padding)",
    roles: ["teacher", "student"],
    ssl: "moco",
    head: "mlp",
    features,
    smallest,
    headDropout,
    trace(b, images, head) {
      requireSize({ name, smallest }, images.shape[1], images.shape[2]);
      const stem = declare(b, "_conv_stem", {
        inputs: 3,
        outputs: widen(32),
        kernel: STEM_KERNEL,
        stride: stemStride,
        padding: samePadding(imageSize, STEM_KERNEL, stemStride),
      });
      let x = b.convolveAndNormalize(images, stem, b.batchNorm("_bn0", widen(32), NORM), {
        activation: "swish",
      });
      const blocks = blocksOf(scale, stemStride);
      for (const [i, layer] of blocks.entries()) {
        x = block(b, `_blocks.${i}`, x, { ...layer, dropRate: DROP_CONNECT * i / blocks.length });
      }
      const last = declare(b, "_conv_head", { inputs: x.shape[3], outputs: features, kernel: 1 });
      x = b.convolveAndNormalize(x, last, b.batchNorm("_bn1", features, NORM), { activation: "swish" });
      const feature = b.graph.apply(globalAveragePool, [x], {});
      return {
        feature,
        map: () => x,
        embedding: projectionHead(b, "fc", features, head)(b.dropout(feature, headDropout)),
      };
    },
  };
}
