/**
 * The tokens of a vision transformer (Dosovitskiy et al. 2021): those that are learned, in front of those of an image's patches,
 * and some tokens out of them. Tokens are images [n, tokens, 1, width] of one column.
 */
import { expectShape, type Lowering, type Op, paddedCount, padTo4, type Tensor } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, storage, uniforms } from "../../wgsl.ts";
import copyWgsl from "./copy_tokens.wgsl" with { type: "text" };
import wgsl from "./prepend_tokens.wgsl" with { type: "text" };
import sumWgsl from "./sum_over_images.wgsl" with { type: "text" };

/** Images, tokens of an image, and vec4s of a token. */
function sizesOf({ shape: [images, height, width, channels] }: Tensor): [number, number, number] {
  return [images, height * width, padTo4(channels) / 4];
}

/**
 * Inputs patches [n, h, w, c], of which every pixel is a token, tokens [k, c] and, where there are any, positions
 * [k + h * w, c]; the result is [n, k + h * w, 1, c]: in each image the k tokens, then the patches, row by row, and each plus
 * its position.
 */
export const prependTokens: Op<Record<never, never>> = {
  name: "prepend_tokens",

  shape(inputs) {
    const [patches, tokens, ...positions] = inputs;
    const [images, height, width, channels] = patches.shape;
    const [prefix] = tokens.shape;
    const count = prefix + height * width;
    expectShape(
      "prepend_tokens",
      patches.shape.length === 4 && tokens.shape.join() === [prefix, channels].join() &&
        positions.length < 2 &&
        positions.every(({ shape }) => shape.join() === [count, channels].join()),
      "patches [n, h, w, c], tokens [k, c] and positions [k + h * w, c] or none",
      ...inputs,
    );
    return [{ shape: [images, count, 1, channels] }];
  },

  gradient(graph, { inputs: [patches, tokens, positions] }, [dy], needed) {
    const [prefix] = tokens.shape;
    const sum = (like: Tensor) => graph.apply(sumOverImages, [dy!], { count: like.shape[0] });
    return [
      needed[0] ? graph.apply(patchesOf, [dy!], { first: prefix, shape: patches.shape }) : undefined,
      needed[1] ? sum(tokens) : undefined,
      ...positions === undefined ? [] : [needed[2] ? sum(positions) : undefined],
    ];
  },

  lower(lowering, node) {
    const [patches, tokens, positions] = node.inputs;
    const hasPositions = positions !== undefined;
    const [images, count, vec4s] = sizesOf(patches);
    lowering.dispatch({
      label: "prepend_tokens",
      source: LINEAR_MAIN + (hasPositions ? storage(3, "positions") : "") +
        storage(hasPositions ? 4 : 3, "y", "read_write") +
        wgsl.replace("/* + position */", hasPositions ? " + positions[token * p.vec4s + vec4_index]" : ""),
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(images, tokens.shape[0], count, vec4s),
      workgroups: linearWorkgroups(paddedCount(node.outputs[0]) / 4, LINEAR_SIZE),
    });
  },
};

/** x [n, t, 1, c] -> [count, c]: the sums over images of the first tokens. */
const sumOverImages: Op<{ count: number }> = {
  name: "sum_over_images",

  shape: ([{ shape }], { count }) => [{ shape: [count, shape[3]] }],

  lower(lowering, { inputs: [x], outputs: [sums] }) {
    const [images, count, vec4s] = sizesOf(x);
    const summed = paddedCount(sums) / 4;
    lowering.dispatch({
      label: "sum_over_images",
      source: LINEAR_MAIN + sumWgsl,
      bindings: [x, sums],
      uniforms: uniforms(images, count * vec4s, summed),
      workgroups: linearWorkgroups(summed, LINEAR_SIZE),
    });
  },
};

/** x [n, t, 1, c] -> `shape` [n, h, w, c]: the tokens from `first` on, which are its pixels. */
const patchesOf: Op<{ first: number; shape: readonly number[] }> = {
  name: "patches_of",
  shape: (_inputs, { shape }) => [{ shape }],
  lower(lowering, { op, inputs: [x], outputs: [y] }, { first }) {
    copyTokens(lowering, op.name, x, first, y, 0, sizesOf(y)[1]);
  },
};

/** Attributes of {@linkcode sliceTokens}. */
export interface SliceTokensAttributes {
  /** The first token, from 0. */
  first: number;
  /** How many. */
  count: number;
}

/** x [n, t, 1, c] -> [n, count, 1, c]: the tokens from `first` on. */
export const sliceTokens: Op<SliceTokensAttributes> = {
  name: "slice_tokens",

  shape([x], { first, count }) {
    const [images, tokens, columns, channels] = x.shape;
    expectShape(
      "slice_tokens",
      x.shape.length === 4 && columns === 1 && first >= 0 && count > 0 && first + count <= tokens,
      `tokens ${first} to ${first + count} of [n, t, 1, c]`,
      x,
    );
    return [{ shape: [images, count, 1, channels] }];
  },

  gradient(graph, { inputs: [x], attributes }, [dy]) {
    const { first } = attributes as SliceTokensAttributes;
    return [graph.apply(placeTokens, [dy!], { first, count: x.shape[1] })];
  },

  lower(lowering, { op, inputs: [x], outputs: [y] }, { first, count }) {
    copyTokens(lowering, op.name, x, first, y, 0, count);
  },
};

/** x [n, t, 1, c] -> [n, count, 1, c]: its tokens are those from `first` on, and the others are zero. */
const placeTokens: Op<SliceTokensAttributes> = {
  name: "place_tokens",

  shape: ([x], { count }) => [{ shape: x.shape.with(1, count) }],

  lower(lowering, { op, inputs: [x], outputs: [y] }, { first }) {
    copyTokens(lowering, op.name, x, 0, y, first, x.shape[1]);
  },
};

/** Copies `count` tokens of every image, from token `from` of x on, to token `to` of y on; other tokens of y become zero. */
function copyTokens(
  lowering: Lowering,
  label: string,
  x: Tensor,
  from: number,
  y: Tensor,
  to: number,
  count: number,
): void {
  const [images, ofX, vec4s] = sizesOf(x);
  const [, ofY] = sizesOf(y);
  lowering.dispatch({
    label,
    source: LINEAR_MAIN + copyWgsl,
    bindings: [x, y],
    uniforms: uniforms(images, vec4s, ofX, from, ofY, to, count),
    workgroups: linearWorkgroups(images * ofY * vec4s, LINEAR_SIZE),
  });
}
