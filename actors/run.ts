/** A run under way, as a program that started it sees it. */

/** What every run can be told. */
export interface RunSettings {
  /** Ends the run, as {@linkcode Run.stop} does. */
  signal?: AbortSignal;
}

/** Who iterates. */
interface Listener<Event> {
  /** Told, and not yet taken. */
  readonly events: Event[];
  wake(): void;
}

/**
 * A run under way: an async iterable of what it tells, and a promise of what comes of it.
 *
 * Every `for await` and every {@linkcode stream} is given what is told from its own beginning on, in order; begun right
 * after the run it misses nothing, and it ends with the run: by an error where the run fails. Events that nobody iterates
 * are not kept.
 *
 * ```ts ignore
 * await using run = distill({ data, distill: teacher, output });
 * for await (const event of run) if (event.type === "step") console.log(event.step, event.loss);
 * console.log((await run.result).checkpoint);
 * ```
 */
export class Run<Event, Result> implements AsyncIterable<Event>, AsyncDisposable {
  /** What comes of it. Rejects with what went wrong, or with the reason why it was stopped: of a training, in a `StoppedError`. */
  readonly result: Promise<Result>;
  readonly #abort = new AbortController();
  #hasEnded = false;
  readonly #listeners = new Set<Listener<Event>>();

  /**
   * Runs are made by the functions of this library, and of others that want to look like them.
   *
   * @param work does it all; `tell` is given the events
   */
  constructor(
    work: (tell: (event: Event) => void, signal: AbortSignal) => Promise<Result>,
    { signal }: RunSettings = {},
  ) {
    const tell = (event: Event) => {
      for (const { events, wake } of this.#listeners) {
        events.push(event);
        wake();
      }
    };
    const stopped = AbortSignal.any([this.#abort.signal, ...signal === undefined ? [] : [signal]]);
    // In a moment, so that who begins to listen at once hears all.
    // An error that nobody waits for, here or in a loop over the events, is an unhandled rejection as any other.
    this.result = Promise.resolve().then(() => {
      stopped.throwIfAborted();
      return work(tell, stopped);
    }).finally(() => {
      this.#hasEnded = true;
      for (const { wake } of this.#listeners) wake();
    });
  }

  /** The events from now on as a stream; cancelling it does not end the run. */
  stream(): ReadableStream<Event> {
    return ReadableStream.from(this);
  }

  /** The events from now on; leaving the loop early does not end the run. */
  [Symbol.asyncIterator](): AsyncGenerator<Event, void> {
    const listener: Listener<Event> = { events: [], wake() {} };
    this.#listeners.add(listener);
    this.result.catch(() => {}); // the loop ends with its error, when it has taken what was told before
    return this.#listen(listener);
  }

  async *#listen(listener: Listener<Event>): AsyncGenerator<Event, void> {
    try {
      for (;;) {
        yield* listener.events.splice(0);
        if (listener.events.length > 0) continue;
        if (this.#hasEnded) break;
        await new Promise<void>((resolve) => listener.wake = resolve);
      }
      await this.result; // for its error
    } finally {
      this.#listeners.delete(listener);
    }
  }

  /** Ends the run as Ctrl-C does on the command line: what is done is saved. Resolves when it has ended. */
  async stop(reason: unknown = new DOMException("the run was stopped", "AbortError")): Promise<void> {
    this.#abort.abort(reason);
    await this.result.catch(() => {});
  }

  /** {@linkcode stop}s the run if it has not ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
