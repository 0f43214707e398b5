/** Multiplication by a number, and addition of one. */
import { type Op, rowsAndVec4s } from "../../graph.ts";
import { CHANNEL_MASK, f32, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./affine.wgsl" with { type: "text" };

/** Attributes of {@linkcode affine}. */
export interface AffineAttributes {
  /** Factor of every element. Default: 1. */
  scale?: number;
  /** Added to the product. Default: 0. */
  shift?: number;
}

/** x of any shape -> x * scale + shift. */
export const affine: Op<AffineAttributes> = {
  name: "affine",

  shape: ([x]) => [{ shape: x.shape }],

  gradient: (graph, node, [dy]) => [
    graph.apply(affine, [dy!], { scale: (node.attributes as AffineAttributes).scale }),
  ],

  lower(lowering, node, { scale = 1, shift = 0 }) {
    const [x] = node.inputs;
    const { rows, vec4s } = rowsAndVec4s(x);
    lowering.dispatch({
      label: "affine",
      source: LINEAR_MAIN + CHANNEL_MASK + wgsl,
      bindings: [x, node.outputs[0]],
      uniforms: uniforms(rows * vec4s, vec4s, x.shape.at(-1)!, f32(scale), f32(shift)),
      workgroups: linearWorkgroups(rows * vec4s, LINEAR_SIZE),
    });
  },
};
