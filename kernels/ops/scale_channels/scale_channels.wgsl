@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  let strip = strip_of(i);
  let factor = gate(scale[strip.channels]);
  for (var at = strip.first; at < strip.end; at += p.vec4s) {
    y[at] = activation(x[at] * factor);
  }
}
