/** Shapes of a 2-D convolution, and the uniform block that its kernels share. */
import { uniforms } from "../../wgsl.ts";

/** Attributes of a convolution. Padding may differ per side, as in TensorFlow's SAME. */
export interface ConvolutionAttributes {
  /** Stride in both directions. */
  stride: number;
  /** Zeros before the first row. */
  padTop: number;
  /** Zeros before the first column. */
  padLeft: number;
  /** Zeros after the last row. */
  padBottom: number;
  /** Zeros after the last column. */
  padRight: number;
}

/** Of a 1 x 1 convolution that takes every pixel: a plain matrix product. */
export const POINTWISE: Readonly<ConvolutionAttributes> = {
  stride: 1,
  padTop: 0,
  padLeft: 0,
  padBottom: 0,
  padRight: 0,
};

/** These alone, out of an op's attributes. */
export function geometryAttributes(
  { stride, padTop, padLeft, padBottom, padRight }: ConvolutionAttributes,
): ConvolutionAttributes {
  return { stride, padTop, padLeft, padBottom, padRight };
}

/** Everything a kernel needs to know: sizes in pixels, channels padded to vec4s (vec4). */
export interface Geometry {
  batch: number;
  height: number;
  width: number;
  inputVec4s: number;
  outputHeight: number;
  outputWidth: number;
  outputVec4s: number;
  outputChannels: number;
  kernelHeight: number;
  kernelWidth: number;
  stride: number;
  padTop: number;
  padLeft: number;
}

const vec4s = (channels: number) => Math.ceil(channels / 4);

/** Geometry from the shapes of x [n, h, w, cin] and w [kh, kw, cin padded to 4, cout]. */
export function geometryOf(
  x: readonly number[],
  weight: readonly number[],
  { stride, padTop, padLeft, padBottom, padRight }: ConvolutionAttributes,
): Geometry {
  const [batch, height, width, inputChannels] = x;
  const [kernelHeight, kernelWidth, , outputChannels] = weight;
  return {
    batch,
    height,
    width,
    inputVec4s: vec4s(inputChannels),
    outputHeight: Math.floor((height + padTop + padBottom - kernelHeight) / stride) + 1,
    outputWidth: Math.floor((width + padLeft + padRight - kernelWidth) / stride) + 1,
    outputVec4s: vec4s(outputChannels),
    outputChannels,
    kernelHeight,
    kernelWidth,
    stride,
    padTop,
    padLeft,
  };
}

/** Whether every output takes exactly one input pixel, its own: a plain matrix product. */
export function isPointwise(
  { kernelHeight, kernelWidth, stride, height, outputHeight, width, outputWidth }: Geometry,
) {
  return kernelHeight === 1 && kernelWidth === 1 && stride === 1 && height === outputHeight &&
    width === outputWidth;
}

/** The same product over fewer, longer rows of pixels, where nothing tells one pixel of an image from another. */
export function flatten(g: Geometry): Geometry {
  if (!isPointwise(g)) return g;
  const pixels = g.height * g.width;
  return { ...g, height: 1, outputHeight: 1, width: pixels, outputWidth: pixels };
}

/** The uniform block; the others than `g` are what {@linkcode PARAMS} calls `batch_inner`, `splits` and `lanes_across`. */
export function geometryUniforms(
  g: Geometry,
  batchInner: boolean,
  splits: number,
  lanesAcross: number,
): Uint32Array {
  return uniforms(
    g.batch,
    g.height,
    g.width,
    g.inputVec4s,
    g.outputHeight,
    g.outputWidth,
    g.outputVec4s,
    g.kernelHeight,
    g.kernelWidth,
    g.stride,
    g.padTop,
    g.padLeft,
    batchInner ? 1 : 0,
    splits,
    g.outputChannels,
    lanesAcross,
  );
}

/** WGSL of the uniform block. */
export const PARAMS = `
struct Params {
  batch: u32, height: u32, width: u32, in_vec4s: u32,
  out_height: u32, out_width: u32, out_vec4s: u32, kernel_height: u32,
  kernel_width: u32, stride: u32, pad_top: u32, pad_left: u32,
  batch_inner: u32, // rows of a product run over the batch first, then over pixels
  splits: u32,      // parts that the weight gradient's sum over pixels is cut into
  out_channels: u32, // without padding
  lanes_across: u32, // invocations of a workgroup across columns, the others go down rows; direct family only
}
@group(0) @binding(0) var<uniform> p: Params;
`;
