/**
 * 2-D convolution, its gradients, and with 1 x 1 images the matrix products of linear layers.
 *
 * x [n, h, w, cin], w [kh, kw, cin padded to 4, cout] -> y [n, ho, wo, cout], without groups.
 */
import type { Target } from "../../gpu.ts";
import {
  elementCount,
  expectShape,
  type Lowering,
  type Op,
  paddedCount,
  padTo4,
  type Tensor,
} from "../../graph.ts";
import { type Activation, epilogueGradient } from "../activation/activation.ts";
import { channelSum } from "../channel_sum/channel_sum.ts";
import {
  type Epilogue,
  forwardSource,
  inputGradientSource,
  PLAIN,
  thinWeightGradientSource,
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
import { sumInParts } from "../sum_partials/sum_partials.ts";
import { sumSplits } from "./sum_splits.ts";
import type { Tile } from "../../tuning/tuning.ts";
import { STAGE } from "../../tuning/workgroup_memory.ts";
import { chooseSharedTile, chooseTile, sharesRows } from "./tile.ts";

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
    expectShape("conv2d", outputHeight > 0 && outputWidth > 0, "an image no smaller than the kernel", x, w);
    const wanted = Number(attributes.bias ?? false) + Number(attributes.addend ?? false);
    expectShape("conv2d", extra.length === wanted, `${wanted} inputs besides x and w`, ...inputs);
    const shape = [batch, outputHeight, outputWidth, w.shape[3]];
    const [bias, addend] = attributes.bias ? extra : [undefined, ...extra];
    const fits = (bias?.shape ?? [shape[3]]).join() === `${shape[3]}` &&
      (addend?.shape ?? shape).join() === shape.join();
    expectShape("conv2d", fits, `a bias [${shape[3]}] and an addend [${shape}], if any`, ...inputs);
    return [{ shape }];
  },

  endsBlock: ({ addend = false }) => addend,

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
    const epilogue = {
      bias: attributes.bias ?? false,
      addend: attributes.addend ?? false,
      activation: attributes.activation,
    };
    const label = `conv2d ${g.kernelHeight}x${g.kernelWidth}`;
    const flops = productFlops(x, w.shape, node.outputs[0]);
    if (lowering.target.tuning.family === "staged") {
      lowerStaged(lowering, {
        label,
        kind: "forward",
        inputs: node.inputs,
        result: node.outputs[0],
        epilogue,
        rows,
        columnVec4s: g.outputVec4s,
        summed: g.kernelHeight * g.kernelWidth * g.inputVec4s * 4,
        phases: 1,
        geometry: g,
        source: stagedForwardSource,
        flops,
      });
      return;
    }
    const tile = chooseTile(lowering.target, "forward", rows, g.outputVec4s * 4);
    lowering.dispatch({
      label,
      source: forwardSource(tile, epilogue, {
        isPadded: !isPointwise(g),
        isShared: sharesRows(lowering.target, tile),
        ...g.inputVec4s === 1 && { thin: x.shape[3] },
      }),
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: geometryUniforms(
        g,
        batchInner(g.batch, tile, g.outputHeight * g.outputWidth),
        1,
        tile.lanesAcross,
      ),
      workgroups: [...productGroups(tile, rows, g.outputVec4s), 1],
      flops,
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
    const epilogue: Epilogue = { ...PLAIN, addend: attributes.addend ?? false };
    const label = `conv2d_input_gradient ${g.kernelHeight}x${g.kernelWidth}`;
    const flops = productFlops(node.outputs[0], w.shape, dy);
    if (lowering.target.tuning.family === "staged") {
      lowerStaged(lowering, {
        label,
        kind: "inputGradient",
        inputs: node.inputs,
        result: node.outputs[0],
        epilogue,
        rows,
        columnVec4s: g.inputVec4s,
        summed: Math.ceil(g.kernelHeight / g.stride) * Math.ceil(g.kernelWidth / g.stride) * g.outputVec4s *
          4,
        phases,
        geometry: g,
        source: stagedInputGradientSource,
        flops,
      });
      return;
    }
    const tile = chooseTile(lowering.target, "inputGradient", rows, g.inputVec4s * 4, phases);
    lowering.dispatch({
      label,
      source: inputGradientSource(tile, epilogue, {
        isPadded: !isPointwise(g),
        isShared: sharesRows(lowering.target, tile),
      }),
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: geometryUniforms(g, batchInner(g.batch, tile, phasePixels), 1, tile.lanesAcross),
      workgroups: [...productGroups(tile, rows, g.inputVec4s), phases],
      flops,
    });
  },
};

/** dw [kh, kw, cin, cout] from x [n, h, w, cin] and dy [n, ho, wo, cout]. */
export const conv2dWeightGradient: Op<Conv2dGradientAttributes> = {
  name: "conv2d_weight_gradient",
  keepsFloat32: "always",

  shape: (_inputs, { like }) => [{ shape: like }],

  lower(lowering, node, attributes) {
    const [x, dy] = node.inputs;
    const g = flatten(geometryOf(x.shape, attributes.like, attributes));
    const taps = g.kernelHeight * g.kernelWidth;
    const [inputs, outputs] = [g.inputVec4s * 4, g.outputVec4s * 4];
    const pixels = g.batch * g.outputHeight * g.outputWidth;
    const isStaged = lowering.target.tuning.family === "staged";
    const thinTile = g.inputVec4s === 1 && taps > 1
      ? chooseSharedTile(lowering.target, "weightGradient", taps * inputs, outputs)
      : undefined;
    // Staged, and of images, the taps are rows of one product; else each is a product of its own.
    const tapsAreRows = isStaged || thinTile !== undefined;
    const [rows, products] = tapsAreRows ? [taps * inputs, 1] : [inputs, taps];
    // The longer of the two makes the better inner loop.
    const isBatchInner = !tapsAreRows && g.outputHeight * g.outputWidth <= 64 && g.batch > g.outputWidth;
    const outer = g.outputHeight * (isBatchInner ? g.outputWidth : g.batch);
    const parts = partCount(lowering.target, pixels, elementCount(attributes.like));
    const tile = thinTile ??
      chooseTile(lowering.target, "weightGradient", rows, outputs, isStaged ? parts : products);
    const [across, down] = productGroups(tile, rows, g.outputVec4s);
    const wanted = Math.ceil((lowering.target.isSoftware ? 16 : 512) / (across * down * products));
    const most = isStaged ? parts : Math.min(parts, outer);
    const splits = Math.max(
      1,
      Math.min(wanted, most, Math.floor(lowering.target.maxWorkgroupsPerDimension / products)),
    );
    const source = () => {
      if (thinTile !== undefined) return thinWeightGradientSource(thinTile, x.shape[3]);
      if (isStaged) return stagedWeightGradientSource(tile, isPointwise(g));
      return weightGradientSource(tile, sharesRows(lowering.target, tile));
    };
    sumInParts(lowering, splits, node.outputs[0], "partial weight gradients", (dw) =>
      lowering.dispatch({
        label: `conv2d_weight_gradient ${g.kernelHeight}x${g.kernelWidth}`,
        source: source(),
        bindings: [x, dy, dw],
        uniforms: geometryUniforms(g, isBatchInner, splits, tile.lanesAcross),
        workgroups: [across, down, products * splits],
        flops: productFlops(x, attributes.like, dy),
      }));
  },
};

/** One of the two products that may have an epilogue, for the staged family. */
interface StagedProduct {
  label: string;
  kind: "forward" | "inputGradient";
  /** The operands, then what the epilogue reads. */
  inputs: readonly Tensor[];
  result: Tensor;
  epilogue: Epilogue;
  rows: number;
  columnVec4s: number;
  /** Terms of each sum. */
  summed: number;
  /** Such products side by side. */
  phases: number;
  geometry: Geometry;
  source(tile: Tile, epilogue: Epilogue, isPointwise: boolean): string;
  flops: number;
}

/** Stages that a part of a sum should have at least. */
const LEAST_STAGES = 16;

/** One dispatch, or where few workgroups would have long sums, one of parts of them and one that adds the parts. */
function lowerStaged(lowering: Lowering, product: StagedProduct): void {
  const { label, kind, inputs, result, epilogue, rows, columnVec4s, phases, geometry, source, flops } =
    product;
  const { target } = lowering;
  const parts = Math.max(
    1,
    Math.floor(
      Math.min(MOST_SPLITS, product.summed / (STAGE * LEAST_STAGES), LARGEST_PARTS / paddedCount(result)),
    ),
  );
  const tile = chooseTile(target, kind, rows, columnVec4s * 4, phases * parts);
  const [across, down] = productGroups(tile, rows, columnVec4s);
  const groups = across * down * phases;
  const splits = Math.max(
    1,
    Math.min(
      parts,
      Math.floor(target.parallelism / groups),
      Math.floor(target.maxWorkgroupsPerDimension / phases),
    ),
  );
  const dispatch = (given: readonly Tensor[], output: Tensor, after: Epilogue) =>
    lowering.dispatch({
      label,
      source: source(tile, after, isPointwise(geometry)),
      bindings: [...given, output],
      uniforms: geometryUniforms(geometry, false, splits, tile.lanesAcross),
      workgroups: [across, down, phases * splits],
      flops,
    });
  if (splits === 1) return dispatch(inputs, result, epilogue);
  const sums = lowering.scratch({ shape: [splits, ...result.shape] }, "partial sums of a product");
  dispatch(inputs.slice(0, 2), sums, PLAIN);
  sumSplits(lowering, sums, splits, epilogue, inputs.slice(2), result);
}

/** Parts that a sum is cut into at most. */
const MOST_SPLITS = 64;

/** Operations of any of the three products, taps in the padding included, padded channels not. */
function productFlops(x: Tensor, [kernelHeight, kernelWidth]: readonly number[], y: Tensor): number {
  return 2 * elementCount(y.shape) * kernelHeight * kernelWidth * x.shape.at(-1)!;
}

/** Workgroups across columns and down rows. */
function productGroups(tile: Tile, rows: number, columnVec4s: number): [number, number] {
  return [
    Math.ceil(columnVec4s * 4 / (tile.columns * tile.lanesAcross)),
    Math.ceil(rows / (tile.rows * tile.lanesDown)),
  ];
}

/**
 * Whether the rows of a tile should share their pixel: with small images many taps fall into the padding, and are
 * skipped when they do so for every row of the tile.
 */
function batchInner(batch: number, tile: Tile, pixels: number): boolean {
  return batch >= tile.rows && pixels <= 64;
}

/**
 * Parts that a sum over pixels may be cut into, each long enough to be worth it. GPUs want many workgroups even of a small
 * result, whose parts are small too.
 */
function partCount(target: Target, pixels: number, result: number): number {
  const most = target.isSoftware ? MOST_SPLITS : Math.min(1024, LARGEST_PARTS / result);
  return Math.max(1, Math.floor(Math.min(pixels / 64, most)));
}

/** Numbers that the parts of a sum have in all on GPUs: 16 MiB. */
const LARGEST_PARTS = 2 ** 22;
