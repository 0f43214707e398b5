struct Params { batch: u32, pixels: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linear_index(group, groups, local);
  if (i >= p.batch * p.quads) { return; }
  let image = i / p.quads;
  let quad = i - image * p.quads;
  var sum = vec4<f32>();
  for (var pixel = 0u; pixel < p.pixels; pixel++) { sum += x[(image * p.pixels + pixel) * p.quads + quad]; }
  y[i] = sum / f32(p.pixels);
}
