struct Params { rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> row_state: array<vec4<f32>>; // [n, 4]
@group(0) @binding(2) var<storage, read> count: array<u32>; // [1]
@group(0) @binding(3) var<storage, read_write> loss: array<vec4<f32>>;

@compute @workgroup_size(1)
fn main() {
  let rows = min(count[0], p.rows);
  var sum = 0.0;
  for (var row = 0u; row < rows; row++) { sum += row_state[row].z; }
  loss[0] = vec4<f32>(sum / f32(rows), 0.0, 0.0, 0.0);
}
