/** The number one: the gradient of a loss with respect to itself. */
import type { Op } from "../../graph.ts";
import { f32, uniforms } from "../../wgsl.ts";

/** No input -> [1], which holds 1. */
export const one: Op<Record<never, never>> = {
  name: "one",

  shape: () => [{ shape: [1] }],

  lower(lowering, node) {
    lowering.dispatch({
      label: "one",
      source: `
@group(0) @binding(0) var<uniform> value: f32;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(1)
fn main() { y[0] = vec4<f32>(value, 0.0, 0.0, 0.0); }
`,
      bindings: [node.outputs[0]],
      uniforms: uniforms(f32(1)),
      workgroups: [1, 1, 1],
    });
  },
};
