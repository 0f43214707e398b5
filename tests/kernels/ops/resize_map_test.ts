import { assertThrows } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import { resizeMap } from "../../../kernels/ops/resize_map/resize_map.ts";
import { resizeByLoop } from "./resize_by_loop.ts";
import { checkOp, KINDS, randomValues, withGpu } from "../check_op.ts";

for (const [kind, as] of KINDS) {
  for (
    const [shape, size] of [
      [[2, 1, 1, 3], [3, 2]],
      [[1, 2, 3, 1], [5, 7]],
      [[2, 7, 7, 17], [4, 4]],
      [[1, 4, 5, 8], [4, 9]],
      [[1, 9, 2, 4], [2, 1]],
    ]
  ) {
    Deno.test(`resize_map [${shape}] to [${size}] equals a float64 loop, and so does its gradient: ${kind}`, () =>
      withGpu((gpu) =>
        checkOp(as(gpu), {
          name: `${shape} ${size}`,
          inputs: [{ shape, values: randomValues("x", shape), gradient: true }],
          build: (graph, [x]) => graph.apply(resizeMap, [x], { height: size[0], width: size[1] }),
          reference: (x) => resizeByLoop(x, shape, size),
        })
      ));
  }
}

Deno.test("resize_map refuses what is no map", () => {
  const graph = new Graph();
  const x = graph.source("x", [4, 8]);
  assertThrows(() => graph.apply(resizeMap, [x], { height: 2, width: 2 }), Error, "expected x [n, h, w, c]");
});
