struct Params { images: u32, image_vec4s: u32, vec4s: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [images, image_vec4s]
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>; // the first vec4s of an image

fn invocation(i: u32) {
  if (i >= p.vec4s) { return; }
  var sum = vec4<f32>();
  for (var image = 0u; image < p.images; image++) { sum += x[image * p.image_vec4s + i]; }
  sums[i] = sum;
}
