struct Params { vec4s: u32, row_vec4s: u32, channels: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.vec4s) { return; }
  let value = activation(x[i]);
  y[i] = select(vec4<f32>(), value, vec4<bool>(KEEPS_ZERO) | is_channel(i % p.row_vec4s, p.channels));
}
