// The entry point of the kernels that change the colours of views, in place; an invocation has four pixels. Each defines its
// `records`, with the view and whether it wants_mean, and what is done to pixels: change(record, quad).
@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let i = group.x * WORKGROUP + local;
  let y = i / ROW_QUADS;
  let row_quad = i % ROW_QUADS;
  if (y >= HEIGHT) {
    return;
  }
  let view = records[group.y].view;
  let changed = change(group.y, unpack_quad(load_quad(view, y, row_quad)));
  store_quad(view, y, row_quad, pack_quad(changed));
  if (records[group.y].wants_mean == 1u) {
    add_luma(view, row_quad, changed);
  }
}
