struct Params { rows: u32, quads: u32, rows_per_invocation: u32, epsilon: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gamma: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> beta: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  let block = i / p.quads;
  let quad = i - block * p.quads;
  let first = block * p.rows_per_invocation;
  if (first >= p.rows) { return; }
  let scale = gamma[quad] / sqrt(statistics[p.quads + quad] + p.epsilon);
  let mean = statistics[quad];
  let shift = beta[quad];
  for (var row = first; row < min(first + p.rows_per_invocation, p.rows); row++) {
    let at = row * p.quads + quad;
    let z = (x[at] - mean) * scale + shift /* residual */;
    y[at] = activation(z);
  }
}
