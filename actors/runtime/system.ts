/** The main thread's side: spawns actors, sees them fail, and ends them all. */

import type { ActorDefinition, ConfigOf, Handlers, ProtocolOf } from "./actor.ts";
import {
  ActorCrash,
  ActorStopped,
  blame,
  type Crash,
  describeFailure,
  type Failure,
  isCausedByStop,
} from "./failure.ts";
import { Actor, type SpawnOptions } from "./handle.ts";
import { ActorHost, within } from "./host.ts";
import { DEFAULT_CREDITS } from "./mailbox.ts";
import type { Protocol } from "./protocol.ts";
import type { ActorRef } from "./ref.ts";
import { mustBeHandled } from "./same_thread.ts";
import { Supervisor, type SupervisorOptions } from "./supervisor.ts";
import type { TraceSpan } from "./trace.ts";
import { Watchdog, type WatchdogOptions } from "./watchdog.ts";

/** Options for an {@linkcode ActorSystem}. */
export interface SystemOptions {
  /** Stops all actors when aborted, for example by Ctrl-C. */
  signal?: AbortSignal;
  /** How long a stopping actor may continue before its Worker is terminated, in ms; `Infinity` for as long as it likes. Default: 3000. */
  graceMs?: number;
  /** `startTimeoutMs` of actors that are spawned without one, in ms. Default: 5 minutes. */
  startTimeoutMs?: number;
  /** Options for a watchdog that detects stalls. */
  watchdog?: WatchdogOptions;
  /** URLs of modules that every Worker imports before its actor. */
  imports?: readonly string[];
  /**
   * Whether all actors run on this thread instead of in Workers: for a debugger, and for many small systems, which start in a moment.
   * Messages travel as they do between Workers. Default: `false`.
   */
  oneThread?: boolean;
  /**
   * Whether an error may pass by itself, such as a lost device: an actor that crashes of it while it starts is restarted as often as
   * its supervisor allows. Default: none may.
   */
  mayPass?: (failure: Failure) => boolean;
  /** Called with what each actor did, from time to time and when it ends; includes the main thread's listeners. */
  onTrace?: (actor: string, spans: readonly TraceSpan[]) => void;
}

/**
 * Number of the last life that began on this thread. Systems of several threads may refer to each other's actors, so each thread
 * counts from somewhere else.
 */
let incarnations = Math.floor(Math.random() * 2 ** 52);

/** Owns named actors: spawns, supervises and stops them. */
export class ActorSystem {
  /**
   * Rejects with an {@linkcode ActorCrash} when an actor has crashed and all others have been stopped. It never
   * resolves. A crash that nothing handles, here or through {@linkcode run}, ends the process like any unhandled
   * rejection.
   */
  readonly failed: Promise<never>;
  readonly #fail: (crash: ActorCrash) => void;
  readonly #graceMs: number;
  readonly #startTimeoutMs: number;
  readonly #imports: readonly string[];
  readonly #oneThread: boolean;
  readonly #watchdog?: Watchdog;
  readonly #mayPass: (failure: Failure) => boolean;
  readonly #onTrace: SystemOptions["onTrace"];
  readonly #signal?: AbortSignal;
  readonly #abort = () => void this.stop();
  // deno-lint-ignore no-explicit-any -- of whatever protocol
  readonly #actors = new Map<string, Actor<any>>();
  /** Holds the main thread's references, and is the sender of what is sent through them. */
  readonly #main: ActorHost;
  readonly #listeners = new Map<string, ActorHost>();
  readonly #terminated: string[] = [];
  readonly #supervisors: Supervisor[] = [];
  /** Rejects when everything begins to stop. */
  readonly #over = Promise.withResolvers<never>();
  #crash?: ActorCrash;
  #stopping?: Promise<void>;

  /** Makes a system without actors. */
  constructor(
    {
      signal,
      graceMs = 3000,
      startTimeoutMs = 300_000,
      imports = [],
      oneThread = false,
      mayPass = () => false,
      onTrace,
      watchdog,
    }: SystemOptions = {},
  ) {
    const { promise, reject } = Promise.withResolvers<never>();
    this.failed = promise;
    this.#fail = reject;
    this.#over.promise.catch(() => {}); // for those that wait for a restart
    this.#graceMs = graceMs;
    this.#startTimeoutMs = startTimeoutMs;
    this.#imports = imports;
    this.#oneThread = oneThread;
    this.#watchdog = watchdog && new Watchdog(
      () => [...this.#actors.values(), ...this.#listeners.values()],
      watchdog,
    );
    this.#mayPass = mayPass;
    this.#onTrace = onTrace;
    this.#main = this.#host("main");
    this.#signal = signal;
    if (signal?.aborted) this.stop();
    signal?.addEventListener("abort", this.#abort);
  }

  /** The actors that were spawned and have not ended. */
  // deno-lint-ignore no-explicit-any -- of whatever protocol
  get actors(): ReadonlyMap<string, Actor<any>> {
    return this.#actors;
  }

  /** Names of the actors whose Workers were terminated because they did not stop in time. */
  get terminated(): readonly string[] {
    return this.#terminated;
  }

  /**
   * Spawns an actor in its own Worker, and returns at once. Messages sent before the actor is ready wait. Several
   * actors can start at the same time.
   *
   * @param name name of the actor, unique in this system; errors include it
   * @param url URL of the module whose default export is the actor: `new URL("./x.ts", import.meta.url)`
   * @param config configuration that the definition takes; copied, except for references and ports
   * @throws {ActorStopped} if the system was stopped
   * @throws {RangeError} if `credits` is no whole number above 0
   */
  // deno-lint-ignore no-explicit-any -- any definition
  spawn<D extends ActorDefinition<any, any>>(
    name: string,
    url: URL | string,
    config: ConfigOf<D>,
    { credits = DEFAULT_CREDITS, startTimeoutMs = this.#startTimeoutMs }: SpawnOptions = {},
  ): Actor<ProtocolOf<D>> {
    this.#checkName(name);
    checkCredits(name, credits);
    const incarnation = ++incarnations;
    const actor = new Actor<ProtocolOf<D>>(
      {
        name,
        incarnation,
        url: String(url),
        config,
        credits,
        startTimeoutMs,
        graceMs: this.#graceMs,
        imports: this.#imports,
        traces: this.#onTrace !== undefined,
        oneThread: this.#oneThread,
      },
      this.#main.endpoint,
      {
        onCrash: (crash) => this.#onCrash(name, crash),
        onTrace: (spans) => this.#onTrace?.(name, spans),
        onEnd: (wasTerminated) => {
          this.#actors.delete(name);
          if (this.#stopping === undefined) {
            for (const other of [...this.#actors.values(), ...this.#listeners.values()]) {
              other.hearOfEnd(name, incarnation);
            }
          }
          if (!wasTerminated) return;
          this.#terminated.push(name);
          // Nobody told those that wait for it. Where everything stops anyway, they wait no longer.
          if (this.#stopping === undefined) {
            const error = new Error("it did not stop in time, and its Worker was terminated");
            this.#onCrash(name, { actor: name, failure: describeFailure(error) });
          }
        },
        endReason: () => this.#crash ?? new ActorStopped(name),
      },
    );
    this.#actors.set(name, actor);
    return actor;
  }

  /**
   * Makes a supervisor, which restarts its actors when they crash. A crash that no supervisor handles stops the whole
   * system.
   */
  supervise(options: SupervisorOptions): Supervisor {
    const isStopping = () => this.#stopping !== undefined;
    const supervisor = new Supervisor({
      spawn: (...args) => this.spawn(...args),
      over: this.#over.promise,
      get isStopping() {
        return isStopping();
      },
      fail: (error) => this.#onCrash("main", blame("main", error)),
      take: (name, crash) => this.#isSupervised(name, crash),
      mayPass: this.#mayPass,
      isRestarting: (except) => this.#supervisors.some((other) => other.isRestarting(except)),
    }, options);
    this.#supervisors.push(supervisor);
    return supervisor;
  }

  /**
   * Makes an actor on the main thread, without a Worker, for example for progress and metrics.
   *
   * @throws {ActorStopped} if the system was stopped
   * @throws {RangeError} if `credits` is no whole number above 0
   */
  listen<P extends Protocol<P>>(
    name: string,
    handlers: Handlers<P>,
    { credits = DEFAULT_CREDITS }: Pick<SpawnOptions, "credits"> = {},
  ): ActorRef<P> {
    this.#checkName(name);
    checkCredits(name, credits);
    const host = this.#host(name, credits);
    this.#listeners.set(name, host);
    host.start(() => Promise.resolve({ start: () => ({ handlers }) }), undefined);
    return host.connect(this.#main.endpoint);
  }

  /**
   * Runs some work. However it ends, all actors have stopped when the promise settles.
   *
   * @returns result of the work
   * @throws {ActorCrash} of the first actor that crashed
   * @throws the signal's reason, if that was what ended the run, or else what the work threw
   */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const aborted = Promise.withResolvers<never>();
    const abort = () => aborted.reject(this.#signal!.reason);
    this.#signal?.addEventListener("abort", abort);
    try {
      this.#signal?.throwIfAborted();
      const result = await Promise.race([aborted.promise, this.failed, work()]);
      await this.stop();
      if (this.#crash !== undefined) throw this.#crash;
      return result;
    } catch (error) {
      await this.stop();
      throw this.#crash ?? (this.#signal?.aborted ? this.#signal.reason : error);
    } finally {
      this.#signal?.removeEventListener("abort", abort);
    }
  }

  /**
   * Stops all actors, as `Actor.stop()` does, and resolves when they have ended. Messages in their mailboxes are
   * dropped; to have them handled, `drain()` the actors first, in the order in which messages flow. Listeners stop
   * last, and handle their messages first unless an actor crashed.
   */
  stop(): Promise<void> {
    return this.#stopping ??= this.#stopAll();
  }

  async #stopAll(): Promise<void> {
    this.#watchdog?.stop();
    this.#over.reject(this.#crash ?? new ActorStopped("main", "is stopping and sends"));
    this.#signal?.removeEventListener("abort", this.#abort);
    await Promise.all([
      ...this.#actors.values().map((actor) => actor.stop()),
      this.#main.stop(this.#graceMs, this.#crash),
    ]);
    await Promise.all(
      this.#listeners.values().map(async (listener) => {
        // The last that the actors had to say is on its way.
        if (this.#crash === undefined) await within(this.#graceMs, listener.drain());
        await listener.stop(this.#graceMs, this.#crash);
      }),
    );
  }

  /** @param reporter who ended; it may blame another actor for it */
  #onCrash(reporter: string, crash: Crash): void {
    if (this.#crash !== undefined) return;
    if (this.#stopping !== undefined && isCausedByStop(crash.failure)) return;
    if (this.#stopping === undefined && this.#isSupervised(crash.actor, crash)) {
      if (reporter === crash.actor || this.#isSupervised(reporter, crash)) return;
    }
    const error = new ActorCrash(crash);
    mustBeHandled(error);
    this.#crash = error;
    this.stop().then(() => this.#fail(error));
  }

  /** Whether somebody takes care of it. */
  #isSupervised(name: string, crash: Crash): boolean {
    return this.#supervisors.find(({ names }) => names.includes(name))?.take(name, crash) ?? false;
  }

  #host(name: string, credits = 0): ActorHost {
    const onTrace = this.#onTrace;
    return new ActorHost(
      { name, incarnation: ++incarnations, credits },
      (crash) => this.#onCrash(name, crash),
      onTrace && ((spans) => onTrace(name, spans)),
    );
  }

  #checkName(name: string): void {
    if (this.#stopping !== undefined) throw new ActorStopped(name);
    if (this.#actors.has(name) || this.#listeners.has(name) || name === this.#main.endpoint.name) {
      throw new Error(`there is already an actor "${name}"; names must be unique in a system`);
    }
  }
}

/** Without credits nobody could send it anything, and would wait for ever. */
function checkCredits(name: string, credits: number): void {
  if (Number.isSafeInteger(credits) && credits > 0) return;
  throw new RangeError(`actor "${name}": expected a whole number of credits above 0, found ${credits}`);
}
