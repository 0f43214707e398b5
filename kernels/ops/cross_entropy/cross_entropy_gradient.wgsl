struct Params { rows: u32, vec4s: u32, columns: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> z: array<vec4<f32>>; // [n, c]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [n]
@group(0) @binding(3) var<storage, read> count: array<u32>; // [1]
@group(0) @binding(4) var<storage, read> row_state: array<vec4<f32>>; // [n, 4]
@group(0) @binding(5) var<storage, read_write> dz: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.rows * p.vec4s) { return; }
  let row = i / p.vec4s;
  let q = i - row * p.vec4s;
  let rows = min(count[0], p.rows);
  let state = row_state[row];
  let column = vec4<u32>(0u, 1u, 2u, 3u) + 4u * q;
  let wanted = select(vec4<f32>(), vec4<f32>(1.0), column == vec4<u32>(labels[row]));
  let difference = (exp(z[i] - state.x) * state.y - wanted) / f32(rows);
  dz[i] = select(vec4<f32>(), difference, is_channel(q, p.columns) & vec4<bool>(row < rows));
}
