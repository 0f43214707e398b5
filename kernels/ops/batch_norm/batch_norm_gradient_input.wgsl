struct Params { rows: u32, vec4s: u32, rows_per_invocation: u32, epsilon: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gamma: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> dgamma: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> dbeta: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;

fn invocation(i: u32) {
  let block = i / p.vec4s;
  let vec4_index = i - block * p.vec4s;
  let first = block * p.rows_per_invocation;
  if (first >= p.rows) { return; }
  // dx = gamma / s * (dz - mean(dz) - xhat * mean(dz * xhat)), s the standard deviation, xhat = (x - mean) / s
  let count = f32(p.rows /* of all devices */);
  let mean = statistics[vec4_index];
  let inverse = 1.0 / sqrt(statistics[p.vec4s + vec4_index] + p.epsilon);
  let scale = gamma[vec4_index] * inverse;
  let mean_dz = dbeta[vec4_index] / count;
  let slope = dgamma[vec4_index] * inverse / count;
  /* slope's constants */
  for (var row = first; row < min(first + p.rows_per_invocation, p.rows); row++) {
    let at = row * p.vec4s + vec4_index;
    let dz = /* dz */;
    /* keep dz */
    dx[at] = scale * (dz - mean_dz - (x[at] - mean) * slope);
  }
}
