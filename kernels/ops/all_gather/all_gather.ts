/** Rows that every device of several has of all of them. */
import { expectShape, type Op } from "../../graph.ts";

/** Attributes of {@linkcode allGather}. */
export interface AllGatherAttributes {
  /** Devices that each have as many rows. */
  devices: number;
}

/**
 * x [n, ...] -> the rows of all devices [devices * n, ...], in their order: `torch.distributed.all_gather`. It has no gradient, and
 * the run stops once, until all devices have come.
 */
export const allGather: Op<AllGatherAttributes> = {
  name: "all_gather",

  shape([x], { devices }) {
    expectShape("all_gather", x.dtype === "f32" && x.shape.length > 1, "rows of float32", x);
    return [{ shape: [devices * x.shape[0], ...x.shape.slice(1)] }];
  },

  lower: (lowering, node) => lowering.gather(node.inputs[0], node.outputs[0]),
};
