/**
 * 2-D convolution, its gradients, and with 1 x 1 pictures the matrix products of linear layers.
 *
 * x [n, h, w, cin], w [kh, kw, cin padded to 4, cout] -> y [n, ho, wo, cout], without groups.
 */
import type { Target } from "../../gpu.ts";
import { elementCount, expectShape, type Op, padTo4, type Tensor } from "../../graph.ts";
import { type Activation, epilogueGradient } from "../activation/activation.ts";
import { channelSum } from "../channel_sum/channel_sum.ts";
import { sumPartials } from "../sum_partials/sum_partials.ts";
import {
  type Epilogue,
  forwardSource,
  inputGradientSource,
  PLAIN,
  weightGradientSource,
} from "./generator.ts";
import {
  type ConvolutionAttributes,
  flatten,
  type Geometry,
  geometryAttributes,
  geometryOf,
  geometryUniforms,
  isPointwise,
} from "./geometry.ts";
import {
  stagedForwardSource,
  stagedInputGradientSource,
  stagedWeightGradientSource,
} from "./staged_generator.ts";
import type { Tile } from "../../tuning/tuning.ts";
import { chooseTile } from "./tile.ts";

/** Attributes of {@linkcode conv2d}. The optional inputs come after x and w, in this order. */
export interface Conv2dAttributes extends ConvolutionAttributes {
  /** A bias [cout] is given. */
  bias?: boolean;
  /** A tensor like the output is given, added before the activation: the residual of a block at inference. */
  addend?: boolean;
  /** Applied last. Only `relu` has a gradient here: the others' needs what went into them, which is not stored. */
  activation?: Activation;
}

/** y = f(x * w + bias? + addend?). */
export const conv2d: Op<Conv2dAttributes> = {
  name: "conv2d",

  shape(inputs, attributes) {
    const [x, w, ...extra] = inputs;
    expectShape(
      "conv2d",
      x.shape.length === 4 && w.shape.length === 4,
      "x [n, h, w, c] and w [kh, kw, c, d]",
      x,
      w,
    );
    expectShape(
      "conv2d",
      padTo4(x.shape[3]) === w.shape[2],
      "as many padded input channels as the weight has",
      x,
      w,
    );
    const { outputHeight, outputWidth, batch } = geometryOf(x.shape, w.shape, attributes);
    expectShape("conv2d", outputHeight > 0 && outputWidth > 0, "a picture no smaller than the kernel", x, w);
    const wanted = Number(attributes.bias ?? false) + Number(attributes.addend ?? false);
    expectShape("conv2d", extra.length === wanted, `${wanted} inputs besides x and w`, ...inputs);
    return [{ shape: [batch, outputHeight, outputWidth, w.shape[3]] }];
  },

  gradient(graph, node, [dy], needed) {
    const attributes = node.attributes as Conv2dAttributes;
    const [x, w] = node.inputs;
    const dz = epilogueGradient(graph, node, dy!, attributes.activation);
    const gradients: (Tensor | undefined)[] = [
      needed[0]
        ? graph.apply(conv2dInputGradient, [dz, w], { ...geometryAttributes(attributes), like: x.shape })
        : undefined,
      needed[1]
        ? graph.apply(conv2dWeightGradient, [x, dz], { ...geometryAttributes(attributes), like: w.shape })
        : undefined,
    ];
    if (attributes.bias) gradients.push(needed[2] ? graph.apply(channelSum, [dz], {}) : undefined);
    if (attributes.addend) gradients.push(dz);
    return gradients;
  },

  lower(lowering, node, attributes) {
    const [x, w] = node.inputs;
    const g = geometryOf(x.shape, w.shape, attributes);
    const rows = g.batch * g.outputHeight * g.outputWidth;
    const tile = chooseTile(lowering.target, "forward", rows, g.outputQuads * 4);
    const epilogue = {
      bias: attributes.bias ?? false,
      addend: attributes.addend ?? false,
      activation: attributes.activation,
    };
    const { family } = lowering.target.tuning;
    lowering.dispatch({
      label: `conv2d ${g.kernelHeight}x${g.kernelWidth}`,
      source: family === "staged"
        ? stagedForwardSource(tile, epilogue)
        : forwardSource(tile, epilogue, !isPointwise(g)),
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: geometryUniforms(g, batchInner(g.batch, tile, g.outputHeight * g.outputWidth), 1),
      workgroups: [...productGroups(tile, rows, g.outputQuads), 1],
      flops: productFlops(x, w.shape, node.outputs[0]),
    });
  },
};

/** Attributes of the gradients: the convolution's own, and the shape of what is differentiated. */
export interface Conv2dGradientAttributes extends ConvolutionAttributes {
  like: readonly number[];
  /** Input gradient only: a third input is added to the result. */
  addend?: boolean;
}

/** dx [n, h, w, cin] from dy [n, ho, wo, cout] and w [kh, kw, cin, cout]. */
export const conv2dInputGradient: Op<Conv2dGradientAttributes> = {
  name: "conv2d_input_gradient",

  shape: (_inputs, { like }) => [{ shape: like }],

  fuseAdd(graph, node, addend) {
    const attributes = node.attributes as Conv2dGradientAttributes;
    if (attributes.addend) return undefined;
    return graph.apply(conv2dInputGradient, [...node.inputs, addend], { ...attributes, addend: true });
  },

  lower(lowering, node, attributes) {
    const [dy, w] = node.inputs;
    const g = geometryOf(attributes.like, w.shape, attributes);
    const phases = g.stride * g.stride;
    const phasePixels = Math.ceil(g.height / g.stride) * Math.ceil(g.width / g.stride);
    const rows = g.batch * phasePixels;
    const tile = chooseTile(lowering.target, "inputGradient", rows, g.inputQuads * 4, phases);
    const epilogue: Epilogue = { ...PLAIN, addend: attributes.addend ?? false };
    const { family } = lowering.target.tuning;
    lowering.dispatch({
      label: `conv2d_input_gradient ${g.kernelHeight}x${g.kernelWidth}`,
      source: family === "staged"
        ? stagedInputGradientSource(tile, epilogue)
        : inputGradientSource(tile, epilogue, !isPointwise(g)),
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: geometryUniforms(g, batchInner(g.batch, tile, phasePixels), 1),
      workgroups: [...productGroups(tile, rows, g.inputQuads), phases],
      flops: productFlops(node.outputs[0], w.shape, dy),
    });
  },
};

/** dw [kh, kw, cin, cout] from x [n, h, w, cin] and dy [n, ho, wo, cout]. */
export const conv2dWeightGradient: Op<Conv2dGradientAttributes> = {
  name: "conv2d_weight_gradient",

  shape: (_inputs, { like }) => [{ shape: like }],

  lower(lowering, node, attributes) {
    const [x, dy] = node.inputs;
    const g = flatten(geometryOf(x.shape, attributes.like, attributes));
    const taps = g.kernelHeight * g.kernelWidth;
    const [inputs, outputs] = [g.inputQuads * 4, g.outputQuads * 4];
    const tile = chooseTile(lowering.target, "weightGradient", inputs, outputs, taps);
    const [across, down] = productGroups(tile, inputs, g.outputQuads);
    const { family } = lowering.target.tuning;
    // The longer of the two makes the better inner loop.
    const isBatchInner = family !== "staged" && g.outputHeight * g.outputWidth <= 16 &&
      g.batch > g.outputWidth;
    const outer = g.outputHeight * (isBatchInner ? g.outputWidth : g.batch);
    const splits = splitCount(lowering.target, across * down * taps, g, outer);
    const result = splits === 1
      ? node.outputs[0]
      : lowering.scratch({ shape: [splits, ...attributes.like] }, "partial weight gradients");
    lowering.dispatch({
      label: `conv2d_weight_gradient ${g.kernelHeight}x${g.kernelWidth}`,
      source: family === "staged" ? stagedWeightGradientSource(tile) : weightGradientSource(tile),
      bindings: [x, dy, result],
      uniforms: geometryUniforms(g, isBatchInner, splits),
      workgroups: [across, down, taps * splits],
      flops: productFlops(x, attributes.like, dy),
    });
    if (splits > 1) sumPartials(lowering, result, splits, node.outputs[0]);
  },
};

/** Operations of any of the three products, taps in the padding included, padded channels not. */
function productFlops(x: Tensor, [kernelHeight, kernelWidth]: readonly number[], y: Tensor): number {
  return 2 * elementCount(y.shape) * kernelHeight * kernelWidth * x.shape.at(-1)!;
}

/** Workgroups across columns and down rows. */
function productGroups(tile: Tile, rows: number, columnQuads: number): [number, number] {
  return [
    Math.ceil(columnQuads * 4 / (tile.columns * tile.lanesAcross)),
    Math.ceil(rows / (tile.rows * tile.lanesDown)),
  ];
}

/**
 * Whether the rows of a tile should share their pixel: with small pictures many taps fall into the padding, and are
 * skipped when they do so for every row of the tile.
 */
function batchInner(batch: number, tile: Tile, pixels: number): boolean {
  return batch >= tile.rows && pixels <= 64;
}

/**
 * Parts that the weight gradient's sum is cut into: enough to keep the device busy, each long enough to be worth it.
 *
 * @param outer turns of the loop that is cut
 */
function splitCount(target: Target, groups: number, g: Geometry, outer: number): number {
  const wanted = Math.ceil((target.isSoftware ? 16 : 1024) / groups);
  const pixels = g.batch * g.outputHeight * g.outputWidth;
  const worthwhile = Math.max(1, Math.floor(pixels / 64));
  return Math.max(1, Math.min(wanted, worthwhile, outer, 64));
}
