/** A run under way, as a program that started it sees it. */
import { UserError } from "../errors.ts";
import { asUserError } from "./runtime/failure.ts";
import { StoppedError } from "./stopped_error.ts";

/** Settings of every run. */
export interface RunSettings {
  /** Stops the run, as {@linkcode Run.stop} does. */
  signal?: AbortSignal;
}

/** Events that wait for a reader that holds a run back, before the run waits too. */
const MOST_WAITING = 4;

/** Who iterates. */
interface Listener<Event> {
  /** Told, and not yet taken. */
  readonly events: Event[];
  /** Whether the run waits for it. */
  readonly holdsBack: boolean;
  hasLeft: boolean;
  wake(): void;
}

/**
 * A run in progress: an async iterable of its events, and a promise of its result.
 *
 * Every `for await` and every {@linkcode stream} gets the events from its own start on, in order. Started right after
 * the run, it misses none. It ends with the run, and throws if the run fails. Events that nobody iterates over are
 * not kept; those that a slow loop has not taken yet are, however many. An error that nobody gets, from a loop under way or from
 * `result`, is an unhandled rejection: also that of a run which fails while the body of a loop awaits something, where the loop is
 * then left before it gets to the error.
 *
 * ```ts ignore
 * await using run = distill({ data, distill: teacher, output });
 * for await (const event of run) if (event.type === "step") console.log(event.step, event.loss);
 * console.log((await run.result).checkpoint);
 * ```
 */
export class Run<Event, Result> implements AsyncIterable<Event>, AsyncDisposable {
  /** As {@linkcode result}. Nobody has handled its rejection yet where loops were to get the error, and all were left without it. */
  #result: Promise<Result>;
  readonly #abort = new AbortController();
  #hasEnded = false;
  /** Whether it has failed of anything else than that it was stopped. */
  #hasFailed = false;
  /** Whether a loop was under way when it ended, or began later, which gets its error. */
  #isHeard = false;
  /** Whether a loop has got the error, or somebody has asked for the result. */
  #isTaken = false;
  readonly #listeners = new Set<Listener<Event>>();
  /** Resolves when somebody has taken events, or left. */
  #taken = Promise.withResolvers<void>();

  /**
   * Made by the functions of this library, and by other libraries that offer the same interface.
   *
   * @param work does the work of the run, and emits its events through `tell`; work that awaits it is held back by readers that are
   *   to hold it back
   * @param stoppedBefore the error of a run that is stopped before its work begins, made of the reason. Default: the reason. With
   *   `null` the work begins all the same, and heeds the signal
   */
  constructor(
    work: (tell: (event: Event) => Promise<void>, signal: AbortSignal) => Promise<Result>,
    settings: RunSettings = {},
    stoppedBefore: ((reason: unknown) => unknown) | null = (reason) => reason,
  ) {
    const { signal } = settings;
    const stopped = AbortSignal.any([
      this.#abort.signal,
      ...signal === undefined ? [] : [signal],
    ]);
    const onAbort = () => this.#noteTaken(); // who waits for room waits no longer
    stopped.addEventListener("abort", onAbort);
    const isFull = ({ holdsBack, events }: Listener<Event>) => holdsBack && events.length >= MOST_WAITING;
    const tell = async (event: Event) => {
      for (const { events, wake } of this.#listeners) {
        events.push(event);
        wake();
      }
      while (!stopped.aborted && this.#listeners.values().some(isFull)) await this.#taken.promise;
    };
    // In a moment, so that who begins to listen at once hears all.
    this.#result = Promise.resolve().then(() => {
      if (settings instanceof AbortSignal) {
        throw new UserError("expected settings of the run, such as { signal }, found an AbortSignal");
      }
      if (stopped.aborted && stoppedBefore !== null) throw stoppedBefore(stopped.reason);
      return work(tell, stopped);
    }).catch((error) => {
      const failure = asUserError(error);
      this.#hasFailed = !(failure instanceof StoppedError || (stopped.aborted && failure === stopped.reason));
      throw failure;
    }).finally(() => {
      this.#hasEnded = true;
      stopped.removeEventListener("abort", onAbort);
      // One that nobody waits for, here or in a loop, is an unhandled rejection as any other.
      if (this.#listeners.size > 0) this.#leaveToLoops();
      for (const { wake } of this.#listeners) wake();
    });
  }

  /**
   * Result of the run. Rejects with the error that ended it, or with the reason for which it was stopped; a stopped
   * training rejects with a `StoppedError`. A `UserError` of an actor is a `UserError` here, with the `ActorCrash` as its `cause`.
   */
  get result(): Promise<Result> {
    this.#isTaken = true;
    return this.#result;
  }

  /** A loop ends with the error. */
  #leaveToLoops(): void {
    this.#isHeard = true;
    this.#result.catch(() => {});
  }

  /** Returns the events from now on as a stream. Cancelling it does not stop the run. */
  stream(): ReadableStream<Event> {
    return ReadableStream.from(this);
  }

  /** Returns the events from now on. Leaving the loop early does not stop the run. */
  [Symbol.asyncIterator](): AsyncGenerator<Event, void> {
    return this.iterate(false);
  }

  /**
   * Returns the events from now on.
   *
   * @param holdsBack whether the run waits where some events have not been taken, as far as its work awaits `tell`
   */
  protected iterate(holdsBack: boolean): AsyncGenerator<Event, void> {
    const listener: Listener<Event> = { events: [], holdsBack, hasLeft: false, wake() {} };
    this.#listeners.add(listener);
    if (this.#hasEnded) this.#leaveToLoops();
    const events = this.#listen(listener);
    // Of a generator that has not begun no `finally` runs, and one that waits does not hear of it.
    const leave = events.return.bind(events);
    events.return = (value) => {
      this.#leave(listener);
      listener.hasLeft = true;
      listener.wake();
      return leave(value);
    };
    return events;
  }

  async *#listen(listener: Listener<Event>): AsyncGenerator<Event, void> {
    try {
      for (;;) {
        const events = listener.events.splice(0);
        this.#noteTaken();
        yield* events;
        if (listener.events.length > 0) continue;
        if (listener.hasLeft) return;
        if (this.#hasEnded) break;
        await new Promise<void>((resolve) => listener.wake = resolve);
      }
      this.#isTaken = true;
      await this.#result; // for its error
    } finally {
      this.#leave(listener);
    }
  }

  #leave(listener: Listener<Event>): void {
    if (!this.#listeners.delete(listener)) return;
    this.#noteTaken();
    // A promise whose rejection nobody has handled yet: `stop()`, or who asks for the result at once, may do so.
    if (this.#isLost) this.#result = this.#result.then();
  }

  /** Whether loops were to get its error, and all were left without it. */
  get #isLost(): boolean {
    return this.#hasFailed && this.#isHeard && !this.#isTaken && this.#listeners.size === 0;
  }

  #noteTaken(): void {
    this.#taken.resolve();
    this.#taken = Promise.withResolvers();
  }

  /**
   * Stops the run as Ctrl-C does on the command line, saving its progress. Resolves when the run has ended, also where it had failed
   * before, and a loop or who waits for its result got the error.
   *
   * @throws any other error than the end that was asked for, such as one of a progress that cannot be saved, unless a loop gets it
   */
  async stop(reason: unknown = new DOMException("the run was stopped", "AbortError")): Promise<void> {
    const hadEnded = this.#hasEnded;
    this.#abort.abort(reason);
    try {
      await this.#result;
    } catch (error) {
      const isNews = !hadEnded && !this.#isHeard;
      if (!this.#hasFailed || !(isNews || this.#isLost)) return;
      this.#isTaken = true;
      throw error;
    }
  }

  /**
   * Stops the run if it has not ended.
   *
   * @throws what {@linkcode stop} throws
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
