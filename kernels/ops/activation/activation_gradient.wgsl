struct Params { vec4s: u32, row_vec4s: u32, channels: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dz: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.vec4s) { return; }
  dz[i] = activation_gradient(dy[i], z[i]);
}
