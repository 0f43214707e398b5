/** A clock by which little work takes long. */

/** As if every epoch took longer than the time between checkpoints. */
export function slowClock(): Disposable {
  const { now } = performance;
  performance.now = () => 1e6 * now.call(performance);
  return { [Symbol.dispose]: () => performance.now = now };
}
