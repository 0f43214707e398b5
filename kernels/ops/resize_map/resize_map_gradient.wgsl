// The share that a pixel has in an output pixel, along one axis.
fn share_of(pixel: u32, t: Taps) -> f32 {
  return select(0.0, 1.0 - t.share, t.first == pixel) + select(0.0, t.share, t.second == pixel);
}

fn invocation(i: u32) {
  if (i >= p.total) { return; }
  let channel = i % p.vec4s;
  let pixel_x = i / p.vec4s % p.width;
  let pixel_y = i / p.vec4s / p.width % p.height;
  let image = i / p.vec4s / p.width / p.height * p.rows;
  var sum = vec4<f32>();
  for (var row = 0u; row < p.rows; row++) {
    let down = share_of(pixel_y, taps(row, p.height, p.rows));
    if (down == 0.0) { continue; }
    for (var column = 0u; column < p.columns; column++) {
      let across = share_of(pixel_x, taps(column, p.width, p.columns));
      if (across == 0.0) { continue; }
      sum += down * across * x[((image + row) * p.columns + column) * p.vec4s + channel];
    }
  }
  y[i] = sum;
}
