/** Which tensors can share memory: assignment of tensors to ranges of buffers by lifetime. */

/** A tensor's life, in steps of the program: from the node that writes it to the last that reads it. */
export interface Lifetime {
  id: number;
  bytes: number;
  first: number;
  last: number;
  /**
   * Tensors that must lie in other buffers: a dispatch cannot write to a buffer that it also binds for reading, not
   * even to another range of it.
   */
  apart?: ReadonlySet<number>;
}

/** Where a tensor lives. */
export interface Placement {
  /** Index into {@linkcode MemoryPlan.buffers}. */
  buffer: number;
  /** In bytes. */
  offset: number;
}

/** The buffers, and where in them each tensor lives. */
export interface MemoryPlan {
  /** Bytes of each buffer. */
  buffers: readonly number[];
  /** By tensor id. */
  placements: ReadonlyMap<number, Placement>;
  /** Sum of the buffers. */
  bytes: number;
  /** The most bytes that are alive at once: no plan can do with less. */
  peakBytes: number;
}

/** Bindings start at multiples of this: WebGPU's `minStorageBufferOffsetAlignment`, which no adapter may exceed. */
export const ALIGNMENT = 256;

const align = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** Which tensor comes first; what comes first gets the lowest place that is free, or a buffer of its own. */
const ORDERS: readonly ((a: Lifetime, b: Lifetime) => number)[] = [
  (a, b) => b.bytes - a.bytes || duration(b) - duration(a),
  (a, b) => b.bytes * duration(b) - a.bytes * duration(a),
  (a, b) => b.bytes - a.bytes || a.first - b.first,
];

function duration({ first, last }: Lifetime): number {
  return last - first + 1;
}

/** The smallest of some greedy plans, each of which takes the tensors in another order. */
export function planMemory(lifetimes: readonly Lifetime[]): MemoryPlan {
  const plans = ORDERS.map((order) => place(lifetimes.toSorted((a, b) => order(a, b) || a.id - b.id)));
  const best = plans.reduce((least, plan) => plan.bytes < least.bytes ? plan : least);
  return { ...best, peakBytes: peakOf(lifetimes) };
}

/** Places each tensor into the tightest gap that no living tensor takes, in any buffer where it may lie. */
function place(lifetimes: readonly Lifetime[]): Omit<MemoryPlan, "peakBytes"> {
  const buffers: { bytes: number; taken: { life: Lifetime; offset: number; end: number }[] }[] = [];
  const placements = new Map<number, Placement>();
  for (const life of lifetimes) {
    const bytes = align(life.bytes);
    let best: Placement | undefined;
    let smallest = Infinity;
    for (const [index, buffer] of buffers.entries()) {
      const alive = buffer.taken.filter(({ life: other }) =>
        other.first <= life.last && life.first <= other.last
      );
      if (alive.some(({ life: other }) => life.apart?.has(other.id) || other.apart?.has(life.id))) continue;
      let start = 0;
      for (const { offset, end } of [...alive, { offset: buffer.bytes, end: buffer.bytes }]) {
        const gap = offset - start;
        if (gap >= bytes && gap < smallest) {
          best = { buffer: index, offset: start };
          smallest = gap;
        }
        start = Math.max(start, end);
      }
    }
    best ??= { buffer: buffers.push({ bytes, taken: [] }) - 1, offset: 0 };
    const { taken } = buffers[best.buffer];
    taken.push({ life, offset: best.offset, end: best.offset + bytes });
    taken.sort((a, b) => a.offset - b.offset);
    placements.set(life.id, best);
  }
  const sizes = buffers.map(({ bytes }) => bytes);
  return { buffers: sizes, placements, bytes: sizes.reduce((total, bytes) => total + bytes, 0) };
}

function peakOf(lifetimes: readonly Lifetime[]): number {
  const changes = lifetimes.flatMap(({ first, last, bytes }) => [
    { step: first, bytes },
    { step: last + 1, bytes: -bytes },
  ]).sort((a, b) => a.step - b.step || a.bytes - b.bytes);
  let alive = 0;
  let peak = 0;
  for (const { bytes } of changes) peak = Math.max(peak, alive += bytes);
  return peak;
}
