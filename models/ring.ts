/** The queue is a ring: what is put behind its last row goes on at its first. */

/** Rows that lie together both in what is put into a ring and in the ring. */
export interface RingPiece {
  /** The first of them, among what is put in. */
  from: number;
  /** Where it goes in the ring. */
  to: number;
  /** How many there are. */
  count: number;
}

/**
 * The pieces that `count` rows fall into when they are put into a ring of `size` rows at `pointer`: one, or two where they
 * go past the end.
 *
 * @throws {RangeError} for more rows than the ring has, and for a pointer outside of it
 */
export function ringPieces(pointer: number, count: number, size: number): RingPiece[] {
  if (count > size || !(pointer >= 0 && pointer < size)) {
    throw new RangeError(`${count} rows do not fit into a ring of ${size} at row ${pointer}`);
  }
  const first = Math.min(count, size - pointer);
  const pieces = [{ from: 0, to: pointer, count: first }];
  if (first < count) pieces.push({ from: first, to: 0, count: count - first });
  return pieces;
}
