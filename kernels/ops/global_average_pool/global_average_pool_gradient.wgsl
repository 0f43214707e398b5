@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;

fn invocation(i: u32) {
  let strip = strip_of(i);
  let gradient = dy[strip.channels] / f32(p.pixels);
  for (var at = strip.first; at < strip.end; at += p.vec4s) {
    dx[at] = gradient /* addend */;
  }
}
