struct Params { vec4s: u32, parts: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>; // [parts, 2, c]
@group(0) @binding(2) var<storage, read_write> first: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> second: array<vec4<f32>>;

fn invocation(vec4_index: u32) {
  if (vec4_index >= p.vec4s) { return; }
  var first_sum = vec4<f32>();
  var second_sum = vec4<f32>();
  for (var part = 0u; part < p.parts; part++) {
    first_sum += parts[part * 2u * p.vec4s + vec4_index];
    second_sum += parts[(part * 2u + 1u) * p.vec4s + vec4_index];
  }
  first[vec4_index] = first_sum;
  second[vec4_index] = second_sum;
}
