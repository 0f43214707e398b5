/** The second half of every long sum: adds the parts that the first half left, in a fixed order. */
import { type Lowering, paddedCount, type Tensor } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./sum_partials.wgsl" with { type: "text" };

/** `result = parts[0] + parts[1] + ...`; parts are laid out one after the other, each like the result. */
export function sumPartials(lowering: Lowering, parts: Tensor, count: number, result: Tensor): void {
  const quads = paddedCount(result) / 4;
  lowering.dispatch({
    label: "sum_partials",
    source: LINEAR_MAIN + wgsl,
    bindings: [parts, result],
    uniforms: uniforms(quads, count),
    workgroups: linearWorkgroups(quads, LINEAR_SIZE),
  });
}
