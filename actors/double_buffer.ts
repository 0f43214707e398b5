/** Keeps a device at work: the next message is begun before what the one before it led to has come back. */
import type { ActorContext } from "./runtime/mod.ts";

/** Two at a time at most, in order. */
export class DoubleBuffer {
  readonly #context: Pick<ActorContext<never>, "work" | "fail">;
  #newest: Promise<void> = Promise.resolve();

  /** @param context of the actor, which is busy while the work goes on */
  constructor(context: Pick<ActorContext<never>, "work" | "fail">) {
    this.#context = context;
  }

  /**
   * Begins work, and awaits what was begun before it. Behind both `then` is called, one after the other.
   *
   * @param what names the work in traces
   * @param begin called at once; where the work fails, so does the actor
   */
  async add(what: string, begin: () => Promise<unknown>, then: () => Promise<void>): Promise<void> {
    const before = this.#newest;
    this.#newest = Promise.all([this.#context.work(what, begin), before]).then(then);
    this.#newest.catch(this.#context.fail);
    await before;
  }

  /** When everything that was begun has ended: for an actor's `drain`. */
  settled(): Promise<void> {
    return this.#newest;
  }
}
