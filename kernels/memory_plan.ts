/** Which tensors can share a buffer: assignment of tensors to slots by lifetime. */

/** A tensor's life, in steps of the program: from the node that writes it to the last that reads it. */
export interface Lifetime {
  id: number;
  bytes: number;
  first: number;
  last: number;
}

/** The slots, and which one each tensor lives in. */
export interface MemoryPlan {
  /** Bytes of each slot. */
  slots: number[];
  /** Tensor id to slot. */
  slotOf: Map<number, number>;
  /** Sum of the slots. */
  bytes: number;
  /** The most bytes that are alive at once: no plan can do with less. */
  peakBytes: number;
}

/**
 * Greedy by size: the largest tensor first, each into the first slot where no tensor is alive at the same time.
 * A slot is as large as its largest tensor, which came first, so no slot grows.
 */
export function planMemory(lifetimes: readonly Lifetime[]): MemoryPlan {
  const slots: { bytes: number; taken: Lifetime[] }[] = [];
  const slotOf = new Map<number, number>();
  for (const life of lifetimes.toSorted((a, b) => b.bytes - a.bytes || a.first - b.first || a.id - b.id)) {
    let slot = slots.findIndex((s) => s.taken.every((t) => t.last < life.first || life.last < t.first));
    if (slot < 0) slot = slots.push({ bytes: life.bytes, taken: [] }) - 1;
    slots[slot].taken.push(life);
    slotOf.set(life.id, slot);
  }

  const changes = lifetimes.flatMap((life) => [
    { step: life.first, bytes: life.bytes },
    { step: life.last + 1, bytes: -life.bytes },
  ]).sort((a, b) => a.step - b.step || a.bytes - b.bytes);
  let alive = 0;
  let peakBytes = 0;
  for (const change of changes) peakBytes = Math.max(peakBytes, alive += change.bytes);

  return {
    slots: slots.map((slot) => slot.bytes),
    slotOf,
    bytes: slots.reduce((total, slot) => total + slot.bytes, 0),
    peakBytes,
  };
}
