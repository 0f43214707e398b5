struct Params { rows: u32, parts: u32, inverse_temperature: f32, inverse_target_temperature: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>; // [n, parts, 8]
@group(0) @binding(2) var<storage, read> own: array<vec4<f32>>; // [n, 1]
@group(0) @binding(3) var<storage, read> target_own: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> row_state: array<vec4<f32>>; // [n, 8]

fn invocation(row: u32) {
  if (row >= p.rows) { return; }
  let own_z = own[row].x * p.inverse_temperature;
  let own_target = target_own[row].x * p.inverse_target_temperature;
  var top = own_z;
  var target_top = own_target;
  for (var i = 0u; i < p.parts; i++) {
    let part = parts[2u * (row * p.parts + i)];
    top = max(top, part.x);
    target_top = max(target_top, part.z);
  }
  let own_weight = exp(own_target - target_top);
  var total = exp(own_z - top);
  var target_total = own_weight;
  var expected = own_weight * (own_z - top);
  for (var i = 0u; i < p.parts; i++) {
    let at = 2u * (row * p.parts + i);
    let part = parts[at];
    let weight = exp(part.z - target_top);
    total += part.y * exp(part.x - top);
    target_total += part.w * weight;
    expected += weight * (parts[at + 1u].x + part.w * (part.x - top)); // logits were relative to the part's own `top`
  }
  row_state[row * 2u] = vec4<f32>(top, 1.0 / total, target_top, 1.0 / target_total);
  // -sum q log p = log(sum of exponentials) - expectation of the logits, both relative to `top`
  row_state[row * 2u + 1u] = vec4<f32>(log(total) - expected / target_total, 0.0, 0.0, 0.0);
}
