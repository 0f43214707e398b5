/** Feature maps of another size: `F.interpolate(mode="bilinear", align_corners=False)`, without antialiasing. */
import { expectShape, type Lowering, type Op, paddedCount, padTo4, type Tensor } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, storage, uniforms } from "../../wgsl.ts";
import gradientWgsl from "./resize_map_gradient.wgsl" with { type: "text" };
import wgsl from "./resize_map.wgsl" with { type: "text" };
import tapsWgsl from "./taps.wgsl" with { type: "text" };

/** Attributes of {@linkcode resizeMap}. */
export interface ResizeMapAttributes {
  /** Rows of the result. */
  height: number;
  /** Columns of the result. */
  width: number;
}

/** x [n, h, w, c] -> [n, height, width, c]. */
export const resizeMap: Op<ResizeMapAttributes> = {
  name: "resize_map",

  shape([x], { height, width }) {
    const fits = x.shape.length === 4 && height > 0 && width > 0;
    expectShape("resize_map", fits, "x [n, h, w, c], and a size of at least one pixel", x);
    return [{ shape: [x.shape[0], height, width, x.shape[3]] }];
  },

  gradient(graph, { inputs: [{ shape: [, height, width] }] }, [dy]) {
    return [graph.apply(resizeMapGradient, [dy!], { height, width })];
  },

  lower(lowering, { op, inputs: [x], outputs: [y] }) {
    dispatch(lowering, op.name, wgsl, { small: x, large: y, x, y });
  },
};

/** dy [n, h, w, c] -> dx [n, height, width, c]: each pixel of x gathers what it gave. */
const resizeMapGradient: Op<ResizeMapAttributes> = {
  name: "resize_map_gradient",
  shape: ([dy], { height, width }) => [{ shape: [dy.shape[0], height, width, dy.shape[3]] }],
  lower(lowering, { op, inputs: [dy], outputs: [dx] }) {
    dispatch(lowering, op.name, gradientWgsl, { small: dx, large: dy, x: dy, y: dx });
  },
};

/** @param maps that which is resized and what it becomes, and what the kernel reads and writes */
function dispatch(
  lowering: Lowering,
  label: string,
  source: string,
  { small, large, x, y }: Record<"small" | "large" | "x" | "y", Tensor>,
): void {
  const [, height, width, channels] = small.shape;
  const [, rows, columns] = large.shape;
  const vec4s = paddedCount(y) / 4;
  lowering.dispatch({
    label,
    source: LINEAR_MAIN + storage(1, "x") + storage(2, "y", "read_write") + tapsWgsl + source,
    bindings: [x, y],
    uniforms: uniforms(vec4s, padTo4(channels) / 4, height, width, rows, columns),
    workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
  });
}
