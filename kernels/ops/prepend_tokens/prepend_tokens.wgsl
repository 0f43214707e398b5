struct Params { images: u32, prefix: u32, patches: u32, vec4s: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> patches: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> tokens: array<vec4<f32>>;

fn invocation(i: u32) {
  let count = p.prefix + p.patches;
  let row = i / p.vec4s;
  let image = row / count;
  if (image >= p.images) { return; }
  let token = row - image * count;
  let vec4_index = i - row * p.vec4s;
  var value: vec4<f32>;
  if (token < p.prefix) {
    value = tokens[token * p.vec4s + vec4_index];
  } else {
    value = patches[(image * p.patches + token - p.prefix) * p.vec4s + vec4_index];
  }
  y[i] = value/* + position */;
}
