/** torch.nn.functional.interpolate(mode="bilinear", align_corners=False) in float64, channels last. */
export function resizeByLoop(
  x: Float64Array,
  [n, h, w, c]: readonly number[],
  [height, width]: readonly number[],
): Float64Array {
  const along = (output: number, length: number, outputs: number) => {
    const at = Math.max((output + 0.5) * length / outputs - 0.5, 0);
    const first = Math.floor(at);
    return [[first, 1 - (at - first)], [Math.min(first + 1, length - 1), at - first]];
  };
  const y = new Float64Array(n * height * width * c);
  for (let i = 0; i < y.length; i++) {
    const [channel, column] = [i % c, Math.floor(i / c) % width];
    const [row, image] = [Math.floor(i / c / width) % height, Math.floor(i / c / width / height)];
    for (const [iy, down] of along(row, h, height)) {
      for (const [ix, across] of along(column, w, width)) {
        y[i] += down * across * x[((image * h + iy) * w + ix) * c + channel];
      }
    }
  }
  return y;
}
