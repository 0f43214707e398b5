struct Params { batch: u32, pixels: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.batch * p.pixels * p.quads) { return; }
  let image = i / (p.pixels * p.quads);
  dx[i] = dy[image * p.quads + i % p.quads] / f32(p.pixels);
}
