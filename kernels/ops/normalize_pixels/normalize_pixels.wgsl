struct Params { mean: vec3<f32>, count: u32, deviation: vec3<f32> }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> pixels: array<u32>; // RGBA8
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.count) { return; }
  let bytes = (vec3<u32>(pixels[i]) >> vec3<u32>(0u, 8u, 16u)) & vec3<u32>(255u);
  y[i] = vec4<f32>((vec3<f32>(bytes) / 255.0 - p.mean) / p.deviation, 0.0);
}
