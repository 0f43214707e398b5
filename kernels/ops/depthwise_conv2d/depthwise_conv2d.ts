/**
 * Depthwise 2-D convolution (a filter for each channel) and its gradients: `nn.Conv2d(c, c, k, groups=c)`.
 *
 * x [n, h, w, c], w [kh, kw, c] -> y [n, ho, wo, c].
 */
import { elementCount, expectShape, type Op, padTo4, type Tensor } from "../../graph.ts";
import { LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import { type Activation, epilogueGradient } from "../activation/activation.ts";
import { channelSum } from "../channel_sum/channel_sum.ts";
import { type ConvolutionAttributes, geometryAttributes, geometryOf } from "../conv2d/geometry.ts";
import { sumInParts } from "../sum_partials/sum_partials.ts";
import { forwardSource, inputGradientSource, weightGradientSource } from "./generator.ts";

/** Attributes of {@linkcode depthwiseConv2d}. */
export interface DepthwiseConv2dAttributes extends ConvolutionAttributes {
  /** A bias [c] is given, after x and w. */
  bias?: boolean;
  /** Applied last. Only `relu` has a gradient here: the others' needs what went into them, which is not stored. */
  activation?: Activation;
}

/** Attributes of the gradients: the convolution's own, and the shape of what is differentiated. */
interface DepthwiseGradientAttributes extends ConvolutionAttributes {
  like: readonly number[];
  /** Input gradient only: a third input is added to the result. */
  addend?: boolean;
}

/** Pixels of a strip: a few, so that values are shared and sums stay in registers, but no more than the row has. */
function stripOf(width: number, step = 1): number {
  const wanted = Math.min(8, Math.max(1, Math.ceil(width / step)) * step);
  return Math.ceil(wanted / step) * step;
}

/** Operations of any of the three, taps in the padding included. */
function depthwiseFlops([kernelHeight, kernelWidth]: readonly number[], y: Tensor): number {
  return 2 * elementCount(y.shape) * kernelHeight * kernelWidth;
}

function paramsOf(
  x: readonly number[],
  y: readonly number[],
  { padTop, padLeft }: ConvolutionAttributes,
  strips: number,
  chunks = 1,
): Uint32Array {
  const [batch, height, width, channels] = x;
  const vec4s = padTo4(channels) / 4;
  return uniforms(batch, height, width, vec4s, y[1], y[2], padTop, padLeft, strips, chunks, channels, 0);
}

/** y = f(x * w + bias?). */
export const depthwiseConv2d: Op<DepthwiseConv2dAttributes> = {
  name: "depthwise_conv2d",

  shape(inputs, attributes) {
    const [x, w, ...extra] = inputs;
    expectShape(
      "depthwise_conv2d",
      x.shape.length === 4 && w.shape.length === 3 && x.shape[3] === w.shape[2],
      "x [n, h, w, c] and w [kh, kw, c]",
      x,
      w,
    );
    const [kernelHeight, kernelWidth, channels] = w.shape;
    const { batch, outputHeight, outputWidth } = geometryOf(
      x.shape,
      [kernelHeight, kernelWidth, 1, channels],
      attributes,
    );
    expectShape(
      "depthwise_conv2d",
      outputHeight > 0 && outputWidth > 0,
      "an image no smaller than the kernel",
      x,
      w,
    );
    expectShape(
      "depthwise_conv2d",
      extra.length === Number(attributes.bias ?? false) &&
        extra.every(({ shape }) => shape.join() === `${channels}`),
      "x, w, bias [c]?",
      ...inputs,
    );
    return [{ shape: [batch, outputHeight, outputWidth, channels] }];
  },

  gradient(graph, node, [dy], needed) {
    const attributes = node.attributes as DepthwiseConv2dAttributes;
    const [x, w] = node.inputs;
    const dz = epilogueGradient(graph, node, dy!, attributes.activation);
    const geometry = geometryAttributes(attributes);
    const gradients: (Tensor | undefined)[] = [
      needed[0]
        ? graph.apply(depthwiseConv2dInputGradient, [dz, w], { ...geometry, like: x.shape })
        : undefined,
      needed[1]
        ? graph.apply(depthwiseConv2dWeightGradient, [x, dz], { ...geometry, like: w.shape })
        : undefined,
    ];
    if (attributes.bias) gradients.push(needed[2] ? graph.apply(channelSum, [dz], {}) : undefined);
    return gradients;
  },

  lower(lowering, node, attributes) {
    const [x, w] = node.inputs;
    const [y] = node.outputs;
    const [kernelHeight, kernelWidth] = w.shape;
    const { bias = false, activation, stride } = attributes;
    const strip = stripOf(y.shape[2]);
    const strips = Math.ceil(y.shape[2] / strip);
    lowering.dispatch({
      label: `depthwise_conv2d ${kernelHeight}x${kernelWidth}`,
      source: forwardSource({ kernelHeight, kernelWidth, stride, strip }, { bias, activation }),
      bindings: [...node.inputs, y],
      uniforms: paramsOf(x.shape, y.shape, attributes, strips),
      workgroups: linearWorkgroups(y.shape[0] * y.shape[1] * strips * padTo4(y.shape[3]) / 4, LINEAR_SIZE),
      flops: depthwiseFlops(w.shape, y),
    });
  },
};

/** dx [n, h, w, c] from dy [n, ho, wo, c] and w [kh, kw, c]. */
export const depthwiseConv2dInputGradient: Op<DepthwiseGradientAttributes> = {
  name: "depthwise_conv2d_input_gradient",

  shape: (_inputs, { like }) => [{ shape: like }],

  fuseAdd(graph, node, addend) {
    const attributes = node.attributes as DepthwiseGradientAttributes;
    if (attributes.addend) return undefined;
    const inputs = [...node.inputs, addend];
    return graph.apply(depthwiseConv2dInputGradient, inputs, { ...attributes, addend: true });
  },

  lower(lowering, node, attributes) {
    const [dy, w] = node.inputs;
    const { like, stride, padLeft, addend = false } = attributes;
    const [batch, height, width, channels] = like;
    const [kernelHeight, kernelWidth] = w.shape;
    const strip = stripOf(width, stride);
    // The first strip may begin before the image, where the padding is no multiple of the stride.
    const strips = Math.ceil((width + padLeft % stride) / strip);
    lowering.dispatch({
      label: `depthwise_conv2d_input_gradient ${kernelHeight}x${kernelWidth}`,
      source: inputGradientSource({ kernelHeight, kernelWidth, stride, strip }, addend),
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: paramsOf(like, dy.shape, attributes, strips),
      workgroups: linearWorkgroups(batch * height * strips * padTo4(channels) / 4, LINEAR_SIZE),
      flops: depthwiseFlops(w.shape, dy),
    });
  },
};

/** dw [kh, kw, c] from x [n, h, w, c] and dy [n, ho, wo, c]. */
export const depthwiseConv2dWeightGradient: Op<DepthwiseGradientAttributes> = {
  name: "depthwise_conv2d_weight_gradient",

  shape: (_inputs, { like }) => [{ shape: like }],

  lower(lowering, node, attributes) {
    const [x, dy] = node.inputs;
    const { like, stride } = attributes;
    const [kernelHeight, kernelWidth, channels] = like;
    const vec4s = padTo4(channels) / 4;
    const strip = Math.min(4, stripOf(dy.shape[2]));
    const rows = dy.shape[0] * dy.shape[1];
    // Enough invocations to keep a device busy, of some rows each.
    const [invocations, most] = lowering.target.isSoftware ? [2048, 256] : [2 ** 17, 2048];
    const wanted = Math.ceil(invocations / (vec4s * kernelHeight));
    const chunks = Math.max(1, Math.min(wanted, Math.ceil(rows / 4), most));
    sumInParts(
      lowering,
      chunks,
      node.outputs[0],
      "partial depthwise weight gradients",
      (dw) =>
        lowering.dispatch({
          label: `depthwise_conv2d_weight_gradient ${kernelHeight}x${kernelWidth}`,
          source: weightGradientSource({ kernelHeight, kernelWidth, stride, strip }),
          bindings: [x, dy, dw],
          uniforms: paramsOf(x.shape, dy.shape, attributes, Math.ceil(dy.shape[2] / strip), chunks),
          workgroups: linearWorkgroups(chunks * kernelHeight * vec4s, LINEAR_SIZE),
          flops: depthwiseFlops(like, dy),
        }),
    );
  },
};
