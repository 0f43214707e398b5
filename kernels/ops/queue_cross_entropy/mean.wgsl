struct Params { rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> row_state: array<vec4<f32>>; // [n, 8]
@group(0) @binding(2) var<storage, read_write> loss: array<vec4<f32>>;

@compute @workgroup_size(1)
fn main() {
  var sum = 0.0;
  for (var row = 0u; row < p.rows; row++) { sum += row_state[row * 2u + 1u].x; }
  loss[0] = vec4<f32>(sum / f32(p.rows), 0.0, 0.0, 0.0);
}
