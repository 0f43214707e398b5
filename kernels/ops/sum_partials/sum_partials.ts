/** The second half of every long sum: adds the parts that the first half left, in a fixed order. */
import type { Target } from "../../gpu.ts";
import { type Dispatch, type Lowering, paddedCount, type Tensor } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, storage, uniforms } from "../../wgsl.ts";
import pairsWgsl from "./sum_pairs.wgsl" with { type: "text" };

/** `result = parts[0] + parts[1] + ...`; parts are laid out one after the other, each like the result. */
export function sumPartials(lowering: Lowering, parts: Tensor, count: number, result: Tensor): void {
  const vec4s = paddedCount(result) / 4;
  lowering.dispatch({
    label: "sum_partials",
    ...sumKernel(lowering.target, vec4s, count, {
      params: "",
      bindings: storage(1, "parts") + storage(2, "result", "read_write"),
      store: "result[i] = sum;",
    }),
    bindings: [parts, result],
    uniforms: uniforms(vec4s, count),
  });
}

/**
 * A sum in `count` parts: `write` gives where they go, one after the other and each like the result, and they are added
 * behind it. A sum in one part goes into the result itself.
 *
 * @param label of the parts
 */
export function sumInParts(
  lowering: Lowering,
  count: number,
  result: Tensor,
  label: string,
  write: (parts: Tensor) => void,
): void {
  if (count === 1) return write(result);
  const parts = lowering.scratch({ shape: [count, ...result.shape] }, label);
  write(parts);
  sumPartials(lowering, parts, count, result);
}

/** Adds the parts of two sums at once, which lie one behind the other: parts [count, 2, c] -> [c], [c]. */
export function sumPairs(
  lowering: Lowering,
  label: string,
  parts: Tensor,
  count: number,
  results: readonly [Tensor, Tensor],
): void {
  const vec4s = paddedCount(results[0]) / 4;
  lowering.dispatch({
    label,
    ...lowering.target.isSoftware
      ? {
        source: LINEAR_MAIN + pairsWgsl,
        uniforms: uniforms(vec4s, count),
        workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
      }
      : {
        ...sumKernel(lowering.target, 2 * vec4s, count, {
          params: "",
          bindings: storage(1, "parts") + storage(2, "first", "read_write") +
            storage(3, "second", "read_write"),
          store: "if (2u * i < p.vec4s) { first[i] = sum; } else { second[i - p.vec4s / 2u] = sum; }",
        }),
        uniforms: uniforms(2 * vec4s, count),
      },
    bindings: [parts, ...results],
  });
}

/** What surrounds the sum of {@linkcode sumKernel}. */
export interface SumText {
  /** Members of the uniform block `p` behind `vec4s` and `parts`. */
  params: string;
  /** Declares the bindings behind it, `parts` among them. */
  bindings: string;
  /** What is done with `sum`, a vec4 of the result, which is its `i`-th. */
  store: string;
}

/** Vec4s of the result, and invocations for each, of a workgroup where many parts are added. */
const [QUADS, LANES] = [16, 16];

/** Source and workgroups of a kernel that adds parts; its uniform block begins with `vec4s` of a part and how many `parts`. */
export function sumKernel(
  { isSoftware }: Target,
  vec4s: number,
  count: number,
  { params, bindings, store }: SumText,
): Pick<Dispatch, "source" | "workgroups"> {
  const declarations = `
struct Params { vec4s: u32, parts: u32, ${params} }
@group(0) @binding(0) var<uniform> p: Params;
${bindings}`;
  if (isSoftware || count < LANES) {
    return {
      source: `${LINEAR_MAIN}${declarations}
fn invocation(i: u32) {
  if (i >= p.vec4s) { return; }
  var sum = parts[i];
  for (var part = 1u; part < p.parts; part++) { sum += parts[part * p.vec4s + i]; }
  ${store}
}
`,
      workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
    };
  }
  return {
    source: `${declarations}
var<workgroup> sums: array<vec4<f32>, ${QUADS * LANES}>; // [lanes, vec4s]

@compute @workgroup_size(${QUADS * LANES})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (group.y * groups.x + group.x) * ${QUADS}u + local % ${QUADS}u;
  let lane = local / ${QUADS}u;
  var partial = vec4<f32>();
  if (i < p.vec4s) {
    for (var part = lane; part < p.parts; part += ${LANES}u) { partial += parts[part * p.vec4s + i]; }
  }
  sums[local] = partial;
  for (var step = ${LANES / 2}u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (lane < step) { sums[local] += sums[local + step * ${QUADS}u]; }
  }
  if (lane == 0u && i < p.vec4s) {
    let sum = sums[local];
    ${store}
  }
}
`,
    workgroups: linearWorkgroups(vec4s, QUADS),
  };
}
