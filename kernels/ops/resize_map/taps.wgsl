struct Params {
  total: u32, // vec4s of y
  vec4s: u32, // of a pixel
  height: u32, // of the map that is resized
  width: u32,
  rows: u32, // of what it becomes
  columns: u32,
}
@group(0) @binding(0) var<uniform> p: Params;

// The two pixels that an output pixel is made of along one axis; `share` is that of the second.
struct Taps {
  first: u32,
  second: u32,
  share: f32,
}

fn taps(output: u32, length: u32, outputs: u32) -> Taps {
  let at = max((f32(output) + 0.5) * f32(length) / f32(outputs) - 0.5, 0.0);
  let first = min(u32(at), length - 1u);
  return Taps(first, min(first + 1u, length - 1u), at - f32(first));
}
