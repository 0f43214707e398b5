struct Params { vec4s: u32, momentum: f32, weight_decay: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> weights: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> velocity: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> learning_rate: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.vec4s || !is_applied()) { return; }
  let w = weights_before[i];
  // Spelled out as fma, which compilers might choose one way or another: scaled or not, the digits are the same.
  let gradient = fma(vec4<f32>(p.weight_decay), w, unscaled(gradients[i]));
  let v = fma(vec4<f32>(p.momentum), velocity_before[i], gradient);
  velocity[i] = v;
  weights[i] = w - learning_rate[0].x * v;
}
