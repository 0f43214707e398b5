// Pillow's GaussianBlur along one axis: three box blurs one after the other, each rounded to 8 bits (BoxBlur.c). The
// first dispatch goes along rows, from `views` to `rows`; the second (VERTICAL) along columns and back.
// An invocation walks SEGMENT (of the prelude, above 10) pixels of a line; each box sees the last five pixels of the
// stage before it.

struct BlurRecord {
  // 24-bit fractions: of the middle pixel, of both its neighbours, of both theirs.
  weights: vec3<u32>,
  view: u32,
}

@group(0) @binding(0) var<uniform> records: array<BlurRecord, RECORD_BYTES / 16u>;
@group(0) @binding(4) var<storage, read_write> rows: array<u32>;
@group(0) @binding(5) var<storage, read_write> views: array<u32>;

override VERTICAL = false;
// Steps from reading a pixel to having blurred it: three boxes that look two pixels ahead.
const DELAY = 6;

// Pixels of a line, and lines of a view.
fn line_length() -> u32 {
  return select(WIDTH, HEIGHT, VERTICAL);
}

fn line_count() -> u32 {
  return select(HEIGHT, WIDTH, VERTICAL);
}

fn index_in_view(line: u32, position: u32) -> u32 {
  return select(line * WIDTH + position, position * WIDTH + line, VERTICAL);
}

fn fetch(view: u32, blurred: u32, index: u32) -> vec3<u32> {
  if (VERTICAL) {
    return unpack(rows[blurred * PIXELS + index]);
  }
  return unpack(views[view * PIXELS + index]);
}

fn store(view: u32, blurred: u32, index: u32, pixel: u32) {
  if (VERTICAL) {
    views[view * PIXELS + index] = pixel;
  } else {
    rows[blurred * PIXELS + index] = pixel;
  }
}

// Five neighbouring pixels.
struct Window {
  a: vec3<u32>,
  b: vec3<u32>,
  c: vec3<u32>,
  d: vec3<u32>,
  e: vec3<u32>,
}

fn box(window: Window, weights: vec3<u32>) -> vec3<u32> {
  let sum = weights.x * window.c + weights.y * (window.b + window.d) + weights.z * (window.a + window.e);
  return (sum + vec3<u32>(1u << 23u)) >> vec3<u32>(24u);
}

// The next window, when the stage before has got to `position`. Beyond either end of the line the last pixel of that
// stage goes on for ever, so the first one fills the window, and past the end `newest` is repeated.
fn slide(window: Window, newest: vec3<u32>, position: i32) -> Window {
  if (position == 0) {
    return Window(newest, newest, newest, newest, newest);
  }
  let pixel = select(newest, window.e, position >= i32(line_length()));
  return Window(window.b, window.c, window.d, window.e, pixel);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let i = group.x * WORKGROUP + local;
  let line = i % line_count();
  let begin = i32(i / line_count() * SEGMENT);
  let length = i32(line_length());
  if (begin >= length) {
    return;
  }
  let weights = records[group.y].weights;
  let view = records[group.y].view;
  let end = min(begin + i32(SEGMENT), length);
  var pixels: Window;
  var once: Window;
  var twice: Window;
  for (var step = begin - DELAY; step < end + DELAY; step++) {
    let index = index_in_view(line, u32(clamp(step, 0, length - 1)));
    pixels = Window(pixels.b, pixels.c, pixels.d, pixels.e, fetch(view, group.y, index));
    once = slide(once, box(pixels, weights), step - 2);
    twice = slide(twice, box(once, weights), step - 4);
    let position = step - DELAY;
    if (position >= begin) {
      store(view, group.y, index_in_view(line, u32(position)), pack(box(twice, weights)));
    }
  }
}
