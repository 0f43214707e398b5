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
}

const layer = (
  name: string,
  side: number,
  inputs: number,
  outputs: number,
  kernel: number,
  stride: number,
): ConvolutionShape => ({
  name,
  n: 32,
  side,
  inputs,
  outputs,
  kernel,
  stride,
  padding: kernel >> 1,
});

/** Layers of ResNet-18 with batches of 32 pictures of 32 and 64 pixels. */
export const CONVOLUTIONS: readonly ConvolutionShape[] = [
  layer("stem, 32 px", 32, 3, 64, 7, 2),
  layer("layer1, 32 px", 8, 64, 64, 3, 1),
  layer("layer1, 64 px", 16, 64, 64, 3, 1),
  layer("layer2 stride 2, 64 px", 16, 64, 128, 3, 2),
  layer("layer2 shortcut, 64 px", 16, 64, 128, 1, 2),
  layer("layer3, 64 px", 4, 256, 256, 3, 1),
  layer("layer4, 64 px", 2, 512, 512, 3, 1),
];

/** Sizes of square matrix products. */
export const PRODUCTS: readonly number[] = [512, 1024];

/**
 * Parameters of the student whose gradients are compared after the first step (momentum then is the gradient), from
 * both ends and the middle of the backward pass, and how far they may differ, relative to the largest.
 *
 * Below the ReLUs and the max pooling the gradient jumps: at this size, changing this project's own weights by a
 * relative 2e-7 moves the first one by up to 1.4e-2 and the second by up to 3e-2, where one activation near zero falls
 * to the other side. A wrong gradient differs by about 1.
 */
export const COMPARED_GRADIENTS: Readonly<Record<string, number>> = {
  "conv1.weight": 0.1,
  "layer3.0.downsample.0.weight": 0.1,
  "fc.2.weight": 1e-3,
};

/** Rows and columns of the output. */
export function outputSide({ side, kernel, stride, padding }: ConvolutionShape): number {
  return Math.floor((side + 2 * padding - kernel) / stride) + 1;
}

/** Operations of the forward pass, a multiplication and an addition counting two; taps in the padding included. */
export function forwardOperations(shape: ConvolutionShape): number {
  return 2 * shape.n * outputSide(shape) ** 2 * shape.kernel ** 2 * shape.inputs * shape.outputs;
}
