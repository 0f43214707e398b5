/** Rows of several groups, one of each in turn. */
import { expectShape, type Op, rowsAndVec4s } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./interleave_rows.wgsl" with { type: "text" };

/** Attributes of {@linkcode interleaveRows}. */
export interface InterleaveRowsAttributes {
  /** Groups that the rows lie in, one after the other. */
  groups: number;
}

/** x [n, 1, 1, d] of g groups of n / g rows -> row i is row floor(i / g) of group i mod g. There is no gradient. */
export const interleaveRows: Op<InterleaveRowsAttributes> = {
  name: "interleave_rows",

  shape([x], { groups }) {
    const fits = x.shape.length === 4 && x.shape[1] === 1 && x.shape[2] === 1 && x.shape[0] % groups === 0;
    expectShape("interleave_rows", fits, "[n, 1, 1, d], n a multiple of the groups", x);
    return [{ shape: x.shape }];
  },

  lower(lowering, { inputs: [x], outputs: [y] }, { groups }) {
    const { rows, vec4s } = rowsAndVec4s(x);
    lowering.dispatch({
      label: "interleave_rows",
      source: LINEAR_MAIN + wgsl,
      bindings: [x, y],
      uniforms: uniforms(rows * vec4s, vec4s, groups, rows / groups),
      workgroups: linearWorkgroups(rows * vec4s, LINEAR_SIZE),
    });
  },
};
