/** Keeps a device at work: the next message is begun before what the one before it led to has come back. */

/** Two at a time at most, in order. */
export class Overlap {
  #newest: Promise<void> = Promise.resolve();

  /**
   * Awaits what was begun before, and not the work itself, behind which `then` is called, one after the other.
   *
   * @param work under way already; where it fails, so does the actor
   */
  async add(work: Promise<unknown>, then: () => Promise<void>): Promise<void> {
    const before = this.#newest;
    this.#newest = Promise.all([work, before]).then(then);
    await before;
  }

  /** When everything that was begun has ended: for an actor's `drain`. */
  settled(): Promise<void> {
    return this.#newest;
  }
}
