// Second pass of Pillow's resize. Where a blend with the mean comes next, the luma is summed for it.
// An invocation makes four pixels side by side, which lie in one vec4 of `rows`.

@group(0) @binding(4) var<storage, read_write> rows: array<vec4<u32>>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let i = group.x * WORKGROUP + local;
  let record = group.y;
  let y = i / ROW_QUADS;
  let row_quad = i % ROW_QUADS;
  if (y >= HEIGHT) {
    return;
  }
  let table = records[record].row_table;
  let weights = table + 2u * HEIGHT + y * records[record].row_taps;
  let count = u32(tables[table + 2u * y + 1u]);
  let start = records[record].row_offset / 4u + u32(tables[table + 2u * y]) * ROW_QUADS + row_quad;
  var sum0 = vec3<i32>(1 << (WEIGHT_BITS - 1u));
  var sum1 = sum0;
  var sum2 = sum0;
  var sum3 = sum0;
  for (var k = 0u; k < count; k++) {
    let weight = tables[weights + k];
    let pixels = rows[start + k * ROW_QUADS];
    sum0 += weight * vec3<i32>(unpack(pixels.x));
    sum1 += weight * vec3<i32>(unpack(pixels.y));
    sum2 += weight * vec3<i32>(unpack(pixels.z));
    sum3 += weight * vec3<i32>(unpack(pixels.w));
  }
  let view = records[record].view;
  let pixels = vec4<u32>(pack(clip8(sum0)), pack(clip8(sum1)), pack(clip8(sum2)), pack(clip8(sum3)));
  store_quad(view, y, row_quad, pixels);
  if (records[record].wants_mean == 1u) {
    add_luma(view, row_quad, unpack_quad(pixels));
  }
}
