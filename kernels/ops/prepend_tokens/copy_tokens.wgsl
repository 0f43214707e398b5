struct Params { images: u32, vec4s: u32, x_count: u32, x_first: u32, y_count: u32, y_first: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [images, x_count, vec4s]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // [images, y_count, vec4s]

fn invocation(i: u32) {
  let row = i / p.vec4s;
  let image = row / p.y_count;
  if (image >= p.images) { return; }
  let token = row - image * p.y_count - p.y_first; // wraps around in front of the first one
  var value = vec4<f32>();
  if (token < p.count) {
    value = x[(image * p.x_count + p.x_first + token) * p.vec4s + i - row * p.vec4s];
  }
  y[i] = value;
}
