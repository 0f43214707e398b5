// Second pass of Pillow's resize, and the part of the colour jitter that comes before contrast (all of it, and
// grayscale, where there is no contrast). Where contrast follows, the luma is summed for its mean.
// An invocation makes four pixels of a row, COLUMN_STEP apart so that neighbours load neighbours.

const COLUMN_STEP = (WIDTH + 3u) / 4u;

fn fetch(index: u32) -> vec3<i32> {
  return vec3<i32>(unpack(rows[index]));
}

// Stores a pixel and gives its luma.
fn finish(record: u32, index: u32, sum: vec3<i32>) -> u32 {
  let pixel = apply_jitter(vec3<f32>(clip8(sum)), 0.0, resize_records[record].jitter);
  views[index] = pack(vec3<u32>(pixel));
  return u32(luma(pixel));
}

@compute @workgroup_size(WORKGROUP)
fn resize_vertical(@builtin(global_invocation_id) id: vec3<u32>) {
  let record = id.y;
  let y = id.x / COLUMN_STEP;
  let x = id.x % COLUMN_STEP;
  if (y >= HEIGHT) {
    return;
  }
  let table = resize_records[record].row_table;
  let weights = table + 2u * HEIGHT + y * resize_records[record].row_taps;
  let count = u32(tables[table + 2u * y + 1u]);
  let start = resize_records[record].row_offset + u32(tables[table + 2u * y]) * WIDTH;
  let at0 = start + x;
  let at1 = start + min(x + COLUMN_STEP, WIDTH - 1u);
  let at2 = start + min(x + 2u * COLUMN_STEP, WIDTH - 1u);
  let at3 = start + min(x + 3u * COLUMN_STEP, WIDTH - 1u);
  var sum0 = vec3<i32>(1 << (WEIGHT_BITS - 1u));
  var sum1 = sum0;
  var sum2 = sum0;
  var sum3 = sum0;
  for (var k = 0u; k < count; k++) {
    let weight = tables[weights + k];
    sum0 += weight * fetch(at0 + k * WIDTH);
    sum1 += weight * fetch(at1 + k * WIDTH);
    sum2 += weight * fetch(at2 + k * WIDTH);
    sum3 += weight * fetch(at3 + k * WIDTH);
  }
  let view = resize_records[record].view;
  let target_index = view * PIXELS + y * WIDTH + x;
  var luma_sum = finish(record, target_index, sum0);
  if (x + COLUMN_STEP < WIDTH) {
    luma_sum += finish(record, target_index + COLUMN_STEP, sum1);
  }
  if (x + 2u * COLUMN_STEP < WIDTH) {
    luma_sum += finish(record, target_index + 2u * COLUMN_STEP, sum2);
  }
  if (x + 3u * COLUMN_STEP < WIDTH) {
    luma_sum += finish(record, target_index + 3u * COLUMN_STEP, sum3);
  }
  if (resize_records[record].wants_mean == 1u) {
    atomicAdd(&luma_sums[view], luma_sum);
  }
}
