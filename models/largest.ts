/** The largest of many values. */

/** Indices of the `count` largest values, the largest first; of equal values the first one comes first. One pass. */
export function largestIndices(values: Float32Array, count: number): number[] {
  const largest: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (largest.length === count && !(value > values[largest[count - 1]])) continue;
    if (largest.length === count) largest.pop();
    let place = largest.length;
    while (place > 0 && value > values[largest[place - 1]]) place--;
    largest.splice(place, 0, i);
  }
  return largest;
}
