fn invocation(i: u32) {
  if (i >= p.total) { return; }
  let channel = i % p.vec4s;
  let column = taps(i / p.vec4s % p.columns, p.width, p.columns);
  let row = taps(i / p.vec4s / p.columns % p.rows, p.height, p.rows);
  let image = i / p.vec4s / p.columns / p.rows * p.height;
  let top = (image + row.first) * p.width;
  let bottom = (image + row.second) * p.width;
  let above = mix(x[(top + column.first) * p.vec4s + channel], x[(top + column.second) * p.vec4s + channel], column.share);
  let below = mix(
    x[(bottom + column.first) * p.vec4s + channel],
    x[(bottom + column.second) * p.vec4s + channel],
    column.share,
  );
  y[i] = mix(above, below, row.share);
}
