struct Params { count: u32, vec4s: u32, columns: u32, factor: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>; // [1]
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.count) { return; }
  dx[i] = select(vec4<f32>(), vec4<f32>(dy[0].x * p.factor), is_channel(i % p.vec4s, p.columns));
}
