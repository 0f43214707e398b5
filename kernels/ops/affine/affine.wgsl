struct Params { count: u32, vec4s: u32, columns: u32, scale: f32, shift: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.count) { return; }
  y[i] = select(vec4<f32>(), x[i] * p.scale + p.shift, is_channel(i % p.vec4s, p.columns));
}
