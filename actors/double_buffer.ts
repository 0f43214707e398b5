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
   * Awaits what was begun before, and not the work itself, behind which `then` is called, one after the other.
   *
   * @param what names the work in traces
   * @param work under way already; where it fails, so does the actor
   */
  async add(what: string, work: Promise<unknown>, then: () => Promise<void>): Promise<void> {
    const before = this.#newest;
    this.#newest = Promise.all([this.#context.work(what, work), before]).then(then);
    this.#newest.catch(this.#context.fail);
    await before;
  }

  /** When everything that was begun has ended: for an actor's `drain`. */
  settled(): Promise<void> {
    return this.#newest;
  }
}
