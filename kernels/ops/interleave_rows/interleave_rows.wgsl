struct Params { count: u32, vec4s: u32, groups: u32, per_group: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.count) { return; }
  let row = i / p.vec4s;
  let source = (row % p.groups) * p.per_group + row / p.groups;
  y[i] = x[source * p.vec4s + i % p.vec4s];
}
