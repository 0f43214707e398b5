struct Params {
  vec4s: u32,
  rest1: f32, // 1 - beta1
  beta2: f32,
  rest2: f32,
  log_beta1: f32,
  log_beta2: f32,
  epsilon: f32,
  weight_decay: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> weights: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> first_moment: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> second_moment: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> learning_rate: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> control: array<vec4<f32>>;

/// 1 - exp(x) for x <= 0: by its series near 0, where the difference would lose its digits.
fn one_minus_exp(x: f32) -> f32 {
  let series = -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0)))));
  return select(1.0 - exp(x), series, x > -0.3);
}

fn invocation(i: u32) {
  if (i >= p.vec4s || control[1].x == 0.0) { return; }
  let steps = control[0].w; // the one under way among them
  let correction1 = one_minus_exp(p.log_beta1 * steps);
  let correction2 = one_minus_exp(p.log_beta2 * steps);
  let rate = learning_rate[0].x;
  let gradient = gradients[i] * control[1].y;
  let mean = first_moment[i] + p.rest1 * (gradient - first_moment[i]);
  let square = p.beta2 * second_moment[i] + p.rest2 * gradient * gradient;
  first_moment[i] = mean;
  second_moment[i] = square;
  let deviation = sqrt(square) / sqrt(correction2) + p.epsilon;
  weights[i] = weights[i] * (1.0 - rate * p.weight_decay) - rate / correction1 * mean / deviation;
}
