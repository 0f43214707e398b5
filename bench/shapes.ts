/** What is compared. */

/** A convolution: x [n, side, side, inputs] by a square kernel. */
export interface ConvolutionShape {
  name: string;
  n: number;
  side: number;
  inputs: number;
  outputs: number;
  kernel: number;
  stride: number;
  padding: number;
  /** A filter for each channel; as many outputs as inputs. */
  depthwise: boolean;
}

function layer(
  network: string,
  [n, size]: readonly [batch: number, imageSize: number],
  side: number,
  channels: number | readonly [inputs: number, outputs: number],
  kernel: number,
  stride = 1,
): ConvolutionShape {
  const depthwise = typeof channels === "number";
  const [inputs, outputs] = depthwise ? [channels, channels] : channels;
  const what = depthwise ? `depthwise ${inputs}` : `${inputs} to ${outputs}`;
  const name = `${network} ${size} px: ${kernel}x${kernel}${
    stride === 1 ? "" : ` / ${stride}`
  }, ${what}, at ${side}`;
  return { name, n, side, inputs, outputs, kernel, stride, padding: kernel >> 1, depthwise };
}

const SMALL = [32, 64] as const;
const LARGE = [4, 224] as const;

/** Layers of the students and teachers, with images of 64 pixels (batches of 32) and 224 (batches of 4). */
export const CONVOLUTIONS: readonly ConvolutionShape[] = [
  layer("ResNet", SMALL, 64, [3, 64], 7, 2),
  layer("ResNet-18", SMALL, 16, [64, 64], 3),
  layer("ResNet-18", SMALL, 16, [64, 128], 3, 2),
  layer("ResNet-18", SMALL, 16, [64, 128], 1, 2),
  layer("ResNet-18", SMALL, 4, [256, 256], 3),
  layer("ResNet-18", SMALL, 2, [512, 512], 3),
  layer("ResNet-50", SMALL, 16, [64, 256], 1),
  layer("ResNet-50", SMALL, 4, [1024, 256], 1),
  layer("MobileNetV3", SMALL, 32, 64, 3, 2),
  layer("MobileNetV3", SMALL, 8, 120, 5),
  layer("MobileNetV3", SMALL, 4, [112, 672], 1),
  layer("EfficientNet-B0", SMALL, 64, [3, 32], 3, 2),
  layer("EfficientNet-B0", SMALL, 16, [24, 144], 1),
  layer("EfficientNet-B0", SMALL, 32, 96, 3, 2),
  layer("EfficientNet-B0", SMALL, 4, 672, 5),
  layer("EfficientNet-B0", SMALL, 2, [1152, 320], 1),
  layer("ResNet", LARGE, 224, [3, 64], 7, 2),
  layer("ResNet", LARGE, 56, [64, 64], 3),
  layer("ResNet-50", LARGE, 56, [256, 64], 1),
  layer("ResNet", LARGE, 14, [256, 256], 3),
  layer("MobileNetV3", LARGE, 28, 120, 5),
  layer("EfficientNet-B0", LARGE, 56, [24, 144], 1),
];

/** Sides of square matrix products. */
export const PRODUCTS: readonly number[] = [512, 1024];

/** Rows and columns of the output. */
export function outputSide({ side, kernel, stride, padding }: ConvolutionShape): number {
  return Math.floor((side + 2 * padding - kernel) / stride) + 1;
}

/** Length of the weight: [kernel, kernel, inputs, outputs], or [kernel, kernel, channels]. */
export function weightLength({ kernel, inputs, outputs, depthwise }: ConvolutionShape): number {
  return kernel * kernel * outputs * (depthwise ? 1 : inputs);
}

/** Operations of the forward pass, a multiplication and an addition counting two; taps in the padding included. */
export function forwardOperations(shape: ConvolutionShape): number {
  return 2 * shape.n * outputSide(shape) ** 2 * weightLength(shape);
}
