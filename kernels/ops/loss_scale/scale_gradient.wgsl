struct Params { vec4s: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> loss_scale: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> scaled: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i < p.vec4s) { scaled[i] = gradient[i] * loss_scale[0].x; }
}
