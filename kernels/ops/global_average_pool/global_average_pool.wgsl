struct Params { batch: u32, pixels: u32, vec4s: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.batch * p.vec4s) { return; }
  let image = i / p.vec4s;
  let vec4_index = i - image * p.vec4s;
  var sum = vec4<f32>();
  for (var pixel = 0u; pixel < p.pixels; pixel++) { sum += x[(image * p.pixels + pixel) * p.vec4s + vec4_index]; }
  y[i] = sum / f32(p.pixels);
}
