// Mixup: each view becomes a weighted mean of itself and of another one, in 16 fraction bits, rounded to 8 bits.
struct Params {
  pixels: u32, // of a view
  count: u32, // of views
  weight: u32, // of a view itself, of 65536
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> views: array<u32>;
@group(0) @binding(2) var<storage, read> partners: array<u32>;
@group(0) @binding(3) var<storage, read_write> mixed: array<u32>;

fn channel(own: u32, other: u32, shift: u32) -> u32 {
  let sum = p.weight * ((own >> shift) & 255u) + (65536u - p.weight) * ((other >> shift) & 255u);
  return ((sum + 32768u) >> 16u) << shift;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= p.pixels || id.y >= p.count) { return; }
  let own = views[id.y * p.pixels + id.x];
  let other = views[partners[id.y] * p.pixels + id.x];
  mixed[id.y * p.pixels + id.x] =
    channel(own, other, 0u) | channel(own, other, 8u) | channel(own, other, 16u) | 0xff000000u;
}
