struct Params { vec4s: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> group: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.vec4s) { return; }
  let before = select(sums[i], vec4<f32>(), group[0].x == 0.0); // chosen, not multiplied: what was there may be NaN
  sums[i] = before + gradients[i] * group[0].y;
}
