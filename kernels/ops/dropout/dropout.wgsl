struct Params { vec4s: u32, sample_vec4s: u32, threshold: u32, scale: f32, salt: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> seed: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

// The finaliser of MurmurHash3: every bit of the input changes half of the output's.
fn mix(value: vec4<u32>) -> vec4<u32> {
  var h = value;
  h = (h ^ (h >> vec4<u32>(16u))) * 0x85EBCA6Bu;
  h = (h ^ (h >> vec4<u32>(13u))) * 0xC2B2AE35u;
  return h ^ (h >> vec4<u32>(16u));
}

fn invocation(i: u32) {
  if (i >= p.vec4s) { return; }
  let index = select(vec4<u32>(0u, 1u, 2u, 3u) + 4u * i, vec4<u32>(i / p.sample_vec4s), PER_SAMPLE);
  let stream = mix(mix(vec4<u32>(seed[0] + p.salt * 0x9E3779B1u)) ^ vec4<u32>(seed[1]));
  let random = mix(mix(index * 0x9E3779B1u ^ stream) + stream) >> vec4<u32>(8u);
  y[i] = select(x[i] * p.scale, vec4<f32>(), random < vec4<u32>(p.threshold)) /* residual */;
}
