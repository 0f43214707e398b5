// The colour jitter from contrast on, in place, for the views that have it: contrast blends with the mean luma of the
// whole view as the ops before it left it.

const PIXEL_STEP = (PIXELS + 3u) / 4u;

@compute @workgroup_size(WORKGROUP)
fn contrast(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= PIXEL_STEP) {
    return;
  }
  let view = contrast_records[id.y].view;
  // int(mean + 0.5), as ImageEnhance.Contrast rounds it
  let mean = f32((2u * atomicLoad(&luma_sums[view]) + PIXELS) / (2u * PIXELS));
  for (var pixel = id.x; pixel < PIXELS; pixel += PIXEL_STEP) {
    let index = view * PIXELS + pixel;
    let rgb = apply_jitter(vec3<f32>(unpack(views[index])), mean, contrast_records[id.y].jitter);
    views[index] = pack(vec3<u32>(rgb));
  }
}
