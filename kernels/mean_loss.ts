/** The last step of a loss: the mean over its rows, by one workgroup, always added up in the same order. */
import { storage } from "./wgsl.ts";

/** Where the losses of rows are found. */
export interface RowLossText {
  /** Declares the further bindings, from 3 on. */
  declarations?: string;
  /** How many rows there are, of the `p.rows` that there may be. */
  count?: string;
  /** The loss of `row`, from `row_state`. */
  loss: string;
}

/** WGSL: binds the rows' state and the mean [1]; its uniform block is the number of rows. For one workgroup. */
export function meanLoss({ declarations = "", count = "p.rows", loss }: RowLossText): string {
  return `
struct Params { rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
${storage(1, "row_state")}${storage(2, "mean", "read_write")}${declarations}
var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  let rows = ${count};
  var sum = 0.0;
  for (var row = lane; row < rows; row += 64u) { sum += ${loss}; }
  sums[lane] = sum;
  for (var width = 32u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) { sums[lane] += sums[lane + width]; }
  }
  if (lane == 0u) { mean[0] = vec4<f32>(sums[0] / f32(rows), 0.0, 0.0, 0.0); }
}
`;
}
