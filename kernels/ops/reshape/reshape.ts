/** Rows in another order of dimensions. */
import { elementCount, expectShape, type Op } from "../../graph.ts";
import { affine } from "../affine/affine.ts";

/** Attributes of {@linkcode reshape}. */
export interface ReshapeAttributes {
  /** New shape. Its last dimension must be x's, since that is padded. */
  shape: readonly number[];
}

/** x [..., c] -> the same rows as `shape` [..., c]. */
export const reshape: Op<ReshapeAttributes> = {
  name: "reshape",
  keepsFloat32: "as inputs",

  shape([x], { shape }) {
    const fits = elementCount(shape) === elementCount(x.shape) && shape.at(-1) === x.shape.at(-1);
    expectShape("reshape", fits, `as many rows of one length as [${shape}]`, x);
    return [{ shape }];
  },

  gradient: (graph, node, [dy]) => [graph.apply(reshape, [dy!], { shape: node.inputs[0].shape })],

  lower: (lowering, node) => affine.lower(lowering, node, {}), // a copy
};
