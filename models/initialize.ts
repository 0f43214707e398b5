/** Fresh weights. */
import { Random } from "../data/random.ts";
import { elementCount } from "../kernels/graph.ts";
import type { StateEntry } from "./encoder_layers.ts";

/** A state_dict's values by key, in PyTorch's layout. Counters are not in it. */
export type StateValues = Map<string, Float32Array<ArrayBuffer>>;

/** Draws every entry. A value depends on the seed and the entry's key alone. */
export function initialize(state: readonly StateEntry[], seed: number): StateValues {
  const values: StateValues = new Map();
  for (const { key, shape, kind, initial } of state) {
    if (kind === "counter") continue;
    const random = new Random(seed, "initialize", key);
    const data = new Float32Array(elementCount(shape));
    switch (initial.draw) {
      case "kaiming_fan_out": {
        const deviation = Math.sqrt(2 / initial.fanOut);
        for (let i = 0; i < data.length; i++) data[i] = random.normal() * deviation;
        break;
      }
      case "normal":
        for (let i = 0; i < data.length; i++) data[i] = random.normal() * initial.deviation;
        break;
      case "truncated_normal":
        for (let i = 0; i < data.length; i++) data[i] = truncatedNormal(random, initial);
        break;
      case "uniform":
        for (let i = 0; i < data.length; i++) data[i] = random.uniform(-initial.bound, initial.bound);
        break;
      case "given":
        data.set(initial.values);
        break;
      case "constant":
        data.fill(initial.value);
    }
    values.set(key, data);
  }
  return values;
}

/** What lies beyond the cut is drawn again. */
function truncatedNormal(
  random: Random,
  { deviation, cut = 2 }: { deviation: number; cut?: number },
): number {
  let value: number;
  do value = random.normal() * deviation; while (Math.abs(value) > cut);
  return value;
}

/** A queue [size, dimension] of random unit rows, as the original starts from; each name has other ones. */
export function initializeQueue(
  size: number,
  dimension: number,
  seed: number,
  name = "queue",
): Float32Array<ArrayBuffer> {
  const random = new Random(seed, name);
  const queue = new Float32Array(size * dimension);
  for (let row = 0; row < size; row++) {
    let squares = 0;
    for (let i = 0; i < dimension; i++) {
      const value = random.normal();
      queue[row * dimension + i] = value;
      squares += value * value;
    }
    const norm = Math.max(Math.sqrt(squares), 1e-12);
    for (let i = 0; i < dimension; i++) queue[row * dimension + i] /= norm;
  }
  return queue;
}
