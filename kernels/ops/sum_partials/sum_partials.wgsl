struct Params { quads: u32, parts: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.quads) { return; }
  var sum = parts[i];
  for (var part = 1u; part < p.parts; part++) { sum += parts[part * p.quads + i]; }
  result[i] = sum;
}
