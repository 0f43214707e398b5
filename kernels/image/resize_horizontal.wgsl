// First pass of Pillow's resize: every needed row of the crop box, from its own width to WIDTH.
// An invocation makes one column of four rows, so that a weight is loaded once for four pixels.

@group(0) @binding(4) var<storage, read_write> rows: array<u32>;

fn fetch(index: u32) -> vec3<i32> {
  return vec3<i32>(unpack(source[index]));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let i = group.x * WORKGROUP + local;
  let record = group.y;
  let x = i % WIDTH;
  let y = i / WIDTH * 4u;
  let row_count = records[record].row_count;
  if (y >= row_count) {
    return;
  }
  let last = row_count - 1u;
  let table = records[record].column_table;
  let weights = table + 2u * WIDTH + x * records[record].column_taps;
  let count = u32(tables[table + 2u * x + 1u]);
  let start = records[record].source_offset + u32(tables[table + 2u * x]);
  let width = records[record].source_width;
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
  let target_index = records[record].row_offset + y * 4u * ROW_QUADS + x;
  rows[target_index] = pack(clip8(sum0));
  if (y + 1u <= last) {
    rows[target_index + 4u * ROW_QUADS] = pack(clip8(sum1));
  }
  if (y + 2u <= last) {
    rows[target_index + 8u * ROW_QUADS] = pack(clip8(sum2));
  }
  if (y + 3u <= last) {
    rows[target_index + 12u * ROW_QUADS] = pack(clip8(sum3));
  }
}
