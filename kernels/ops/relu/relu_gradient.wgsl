struct Params { quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dz: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.quads) { return; }
  dz[i] = select(vec4<f32>(), dy[i], y[i] > vec4<f32>());
}
