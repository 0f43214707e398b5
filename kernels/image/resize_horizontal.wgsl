// First pass of Pillow's resize: every needed row of the crop box, from its own width to WIDTH.
// An invocation makes one column of four rows, so that a weight is loaded once for four pixels.

fn fetch(index: u32) -> vec3<i32> {
  return vec3<i32>(unpack(source[index]));
}

@compute @workgroup_size(WORKGROUP)
fn resize_horizontal(@builtin(global_invocation_id) id: vec3<u32>) {
  let record = id.y;
  let x = id.x % WIDTH;
  let y = id.x / WIDTH * 4u;
  let row_count = resize_records[record].row_count;
  if (y >= row_count) {
    return;
  }
  let last = row_count - 1u;
  let table = resize_records[record].column_table;
  let weights = table + 2u * WIDTH + x * resize_records[record].column_taps;
  let count = u32(tables[table + 2u * x + 1u]);
  let start = resize_records[record].source_offset + u32(tables[table + 2u * x]);
  let width = resize_records[record].source_width;
  let at0 = start + y * width;
  let at1 = start + min(y + 1u, last) * width;
  let at2 = start + min(y + 2u, last) * width;
  let at3 = start + min(y + 3u, last) * width;
  var sum0 = vec3<i32>(1 << (WEIGHT_BITS - 1u));
  var sum1 = sum0;
  var sum2 = sum0;
  var sum3 = sum0;
  for (var k = 0u; k < count; k++) {
    let weight = tables[weights + k];
    sum0 += weight * fetch(at0 + k);
    sum1 += weight * fetch(at1 + k);
    sum2 += weight * fetch(at2 + k);
    sum3 += weight * fetch(at3 + k);
  }
  let target_index = resize_records[record].row_offset + y * WIDTH + x;
  rows[target_index] = pack(clip8(sum0));
  if (y + 1u <= last) {
    rows[target_index + WIDTH] = pack(clip8(sum1));
  }
  if (y + 2u <= last) {
    rows[target_index + 2u * WIDTH] = pack(clip8(sum2));
  }
  if (y + 3u <= last) {
    rows[target_index + 3u * WIDTH] = pack(clip8(sum3));
  }
}
