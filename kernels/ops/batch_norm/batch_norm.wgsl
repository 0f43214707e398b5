struct Params { rows: u32, vec4s: u32, rows_per_invocation: u32, epsilon: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gamma: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> beta: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  let block = i / p.vec4s;
  let vec4_index = i - block * p.vec4s;
  let first = block * p.rows_per_invocation;
  if (first >= p.rows) { return; }
  let scale = gamma[vec4_index] / sqrt(statistics[p.vec4s + vec4_index] + p.epsilon);
  let mean = statistics[vec4_index];
  let shift = beta[vec4_index];
  for (var row = first; row < min(first + p.rows_per_invocation, p.rows); row++) {
    let at = row * p.vec4s + vec4_index;
    let z = (x[at] - mean) * scale + shift /* residual */;
    y[at] = activation(z);
  }
}
