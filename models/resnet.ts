/** ResNet-18, 34, 50, 101 and 152 (He et al. 2016), as torchvision builds them; `moco_resnet.py` of the original. */
import type { Tensor } from "../kernels/graph.ts";
import { globalAveragePool } from "../kernels/ops/global_average_pool/global_average_pool.ts";
import { maxPool } from "../kernels/ops/max_pool/max_pool.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";
import { type HeadOptions, projectionHead } from "./heads.ts";
import type { Encoder, EncoderOutputs } from "./registry.ts";

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
  const y = b.convolveAndNormalize(x, conv1, bn1);
  return b.convolveAndNormalize(y, conv2, bn2, { residual });
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
  const y = b.convolveAndNormalize(x, conv1, bn1);
  const z = b.convolveAndNormalize(y, conv2, bn2);
  return b.convolveAndNormalize(z, conv3, bn3, { residual });
};

/** The identity, or a 1x1 convolution where the block changes the shape. */
function shortcut(b: EncoderBuilder, key: string, x: Tensor, outputs: number, stride: number): Tensor {
  const inputs = x.shape[3];
  if (stride === 1 && inputs === outputs) return x;
  const convolution = b.convolution(`${key}.downsample.0`, { inputs, outputs, kernel: 1, stride });
  const norm = b.batchNorm(`${key}.downsample.1`, outputs);
  return b.convolveAndNormalize(x, convolution, norm, { relu: false });
}

/** Block and blocks per stage of each depth. */
const DEPTHS: Record<number, { block: Block; stages: readonly number[]; features: number }> = {
  18: { block: basicBlock, stages: [2, 2, 2, 2], features: 512 },
  34: { block: basicBlock, stages: [3, 4, 6, 3], features: 512 },
  50: { block: bottleneck, stages: [3, 4, 6, 3], features: 2048 },
  101: { block: bottleneck, stages: [3, 4, 23, 3], features: 2048 },
  152: { block: bottleneck, stages: [3, 8, 36, 3], features: 2048 },
};

/** The encoder of a depth: 18, 34, 50, 101 or 152. */
export function resnet(depth: keyof typeof DEPTHS): Encoder {
  const { block, stages, features } = DEPTHS[depth];
  return {
    name: `resnet${depth}`,
    features,
    trace(b: EncoderBuilder, images: Tensor, head: HeadOptions): EncoderOutputs {
      const conv1 = b.convolution("conv1", { inputs: 3, outputs: 64, kernel: 7, stride: 2, padding: 3 });
      const bn1 = b.batchNorm("bn1", 64);
      const stem = b.convolveAndNormalize(images, conv1, bn1);
      let [x] = b.graph.applyAll(maxPool, [stem], { kernel: 3, stride: 2, padding: 1 });
      for (const [stage, blocks] of stages.entries()) {
        for (let i = 0; i < blocks; i++) {
          const stride = stage > 0 && i === 0 ? 2 : 1;
          x = block(b, `layer${stage + 1}.${i}`, x, 64 * 2 ** stage, stride);
        }
      }
      const feature = b.graph.apply(globalAveragePool, [x], {});
      return { feature, embedding: projectionHead(b, "fc", features, head)(feature) };
    },
  };
}
