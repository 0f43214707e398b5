/** Starts crashed actors again, after the model of Erlang's supervisors. */

import type { ActorDefinition, ConfigOf, ProtocolOf } from "./actor.ts";
import { ActorCrash, ActorStopped, type Crash, type Failure } from "./failure.ts";
import type { Actor, SpawnOptions } from "./handle.ts";
import type { Protocol } from "./protocol.ts";
import type { ActorRef } from "./ref.ts";

/** Which actors are restarted when one crashes: that one; that one and those spawned after it; or all. */
export type RestartStrategy = "one-for-one" | "rest-for-one" | "one-for-all";

/** A restart in progress. */
export interface Restart {
  /** The crash that caused it. */
  crash: ActorCrash;
  /** Names of the restarted actors, in the order in which they were spawned. */
  actors: readonly string[];
  /** Number of restarts so far, including this one. */
  count: number;
  /** How often the same actor crashed of the same error without progress, this time included; see `SupervisorOptions.progress`. */
  repeats: number;
}

/** Hooks of a restart. */
export interface RestartHooks {
  /**
   * Called when the actors have stopped and before they start again, for example to query other actors. An error that
   * it throws ends the run, unless it is the crash of another supervised actor.
   */
  prepare?(restart: Restart): void | Promise<void>;
  /** Called when the actors have been spawned again, to send their new references to others. */
  resume?(restart: Restart): void | Promise<void>;
}

/** Options for a {@linkcode Supervisor}. */
export interface SupervisorOptions extends RestartHooks {
  /** Which actors are restarted. */
  strategy: RestartStrategy;
  /**
   * Maximum number of restarts within {@linkcode withinMs}; the next crash is passed on, or ends the run. Default: 3. So
   * often, whatever the time between, an actor is restarted that crashes of the same error without {@linkcode progress}.
   */
  maxRestarts?: number;
  /** Length of that interval, in ms. Default: 60,000. */
  withinMs?: number;
  /**
   * Returns how far the work has come that is done again after such a crash; `undefined` where nothing is under way. It is
   * larger than at the last crash of the same actor and error where there was progress since then. Default: not known, and only restarts
   * within {@linkcode withinMs} are limited.
   */
  progress?(crash: Crash): number | undefined;
  /**
   * For actors that a run can do without: called with a crash that no restart fixes, instead of ending the run. The
   * actors stay stopped, and what waits in {@linkcode Supervisor.retry} rejects with the crash.
   */
  onGiveUp?(crash: ActorCrash): void;
}

/** Interface of a supervisor to its system. */
export interface SupervisorHost {
  /** `ActorSystem.spawn()`. */
  // deno-lint-ignore no-explicit-any -- any definition
  spawn<D extends ActorDefinition<any, any>>(
    name: string,
    url: URL | string,
    config: ConfigOf<D>,
    options?: SpawnOptions,
  ): Actor<ProtocolOf<D>>;
  /** Rejects when the system begins to stop. */
  readonly over: Promise<never>;
  /** Whether the system is stopping or has stopped. */
  readonly isStopping: boolean;
  /** Ends the run with an error that no restart can fix. */
  fail(error: unknown): void;
  /** Handles the crash of an actor; returns whether a supervisor restarts it. */
  take(name: string, crash: Crash): boolean;
  /** `SystemOptions.mayPass`. */
  mayPass(failure: Failure): boolean;
  /** Returns whether any supervisor except the one given is restarting actors. */
  isRestarting(except: Supervisor): boolean;
}

/** An actor that is restarted when it crashes. */
export class Supervised<P extends Protocol<P>> {
  /** Name of the actor, the same in every incarnation. */
  readonly name: string;
  readonly #spawn: () => Actor<P>;
  #actor: Actor<P>;
  #isStopped = false;
  /** What this incarnation, and the one before it, crashed of before they handled a message. */
  #earlyError?: string;
  #earlyErrorBefore?: string;

  /** Made by {@linkcode Supervisor.spawn}. */
  constructor(name: string, spawn: () => Actor<P>) {
    this.name = name;
    this.#spawn = spawn;
    this.#actor = spawn();
  }

  /** Current incarnation. */
  get actor(): Actor<P> {
    return this.#actor;
  }

  /** Reference to the current incarnation. */
  get ref(): ActorRef<P> {
    return this.#actor.ref;
  }

  /** Stops the current incarnation. An actor that needs it cannot be restarted then. */
  stop(): Promise<void> {
    this.#isStopped = true;
    return this.#actor.stop();
  }

  /** Starts the next incarnation. */
  start(): void {
    this.#earlyErrorBefore = this.#earlyError;
    this.#earlyError = undefined;
    this.#actor = this.#spawn();
    this.#isStopped = false;
  }

  /** Whether the current incarnation was told to stop. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Its name, as a supervisor has several. */
  get names(): readonly string[] {
    return [this.name];
  }

  /** Whether a crash before it has handled a message is of the same error as that of the incarnation before. */
  repeats({ failure: { name, message } }: Crash): boolean {
    this.#earlyError = `${name}: ${message}`;
    return this.#earlyError === this.#earlyErrorBefore;
  }
}

/** When a hook is called again that failed because of another restart. */
const RETRY_MS = 50;

// deno-lint-ignore no-explicit-any -- of whatever protocol
type Child = Supervised<any> | Supervisor;

/**
 * Owns actors and other supervisors, in the order in which they were spawned. A `UserError` does not lead to a
 * restart, since it would occur again. Nor does the error of an actor that has not handled a message when it is the same one
 * as in its last incarnation. An error that comes again and again without progress in between leads to a limited number of restarts.
 */
export class Supervisor {
  readonly #host: SupervisorHost;
  readonly #options: SupervisorOptions;
  readonly #parent: Supervisor | undefined;
  readonly #children: Child[] = [];
  /** When it restarted, of late. */
  readonly #times: number[] = [];
  /** By what an actor crashed of: how far the work was then, and how often it came no further. */
  readonly #repeats = new Map<string, { progress: number; count: number }>();
  /** Children that are stopped, or about to be, and not yet started again. */
  readonly #down = new Set<Child>();
  #crash?: ActorCrash;
  /** Restarts that count here, those of children included. */
  #count = 0;
  /** Of the restart under way. */
  #counted: Pick<Restart, "count" | "repeats"> = { count: 0, repeats: 0 };
  #restarting?: Promise<void>;
  /** Resolves when a restart is done. */
  #restarted = Promise.withResolvers<void>();
  /** Rejects when these actors, or all of a supervisor that this is in, were given up, and have stopped. */
  readonly #givenUp = Promise.withResolvers<never>();
  #hasGivenUp = false;
  /** Grows when this supervisor itself is stopped: a restart of before is none of its business any more. */
  #incarnation = 0;

  /** Made by `ActorSystem.supervise()` and {@linkcode supervise}. */
  constructor(host: SupervisorHost, options: SupervisorOptions, parent?: Supervisor) {
    this.#host = host;
    this.#options = options;
    this.#parent = parent;
    this.#givenUp.promise.catch(() => {}); // for those that wait for a restart
  }

  /** Names of all its actors. */
  get names(): readonly string[] {
    if (this.#hasGivenUp && this.#down.size === 0) return []; // they have stopped, and others may have their names
    return this.#children.flatMap(({ names }) => names);
  }

  /**
   * Spawns an actor that is restarted when it crashes; see `ActorSystem.spawn()`.
   *
   * @param config makes the configuration of each incarnation; references in it must lead to actors that are alive
   *   then
   */
  // deno-lint-ignore no-explicit-any -- any definition
  spawn<D extends ActorDefinition<any, any>>(
    name: string,
    url: URL | string,
    config: () => ConfigOf<D>,
    options?: SpawnOptions,
  ): Supervised<ProtocolOf<D>> {
    const child = new Supervised<ProtocolOf<D>>(
      name,
      () => this.#host.spawn<D>(name, url, config(), options),
    );
    this.#children.push(child);
    return child;
  }

  /**
   * Makes a child supervisor, which has this one's hooks. A crash that it cannot fix counts as its own crash. Without a limit of
   * its own, what it restarts counts among this one's restarts.
   */
  supervise(options: Omit<SupervisorOptions, keyof RestartHooks | "onGiveUp">): Supervisor {
    const { prepare, resume } = this.#options;
    const child = new Supervisor(this.#host, { ...options, prepare, resume }, this);
    this.#children.push(child);
    return child;
  }

  /**
   * Runs some work with these actors, and runs it again after the restart if one of them crashes meanwhile.
   *
   * @param work uses each actor's current {@linkcode Supervised.ref}; what it sent the first time may be lost
   * @throws the work's error, or the error that ends the run if there is no restart
   */
  async retry<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      const { promise: restarted } = this.#restarted;
      try {
        if (!this.#hasGivenUp) return await work();
      } catch (error) {
        if (!(error instanceof ActorCrash || error instanceof ActorStopped)) throw error;
      }
      await Promise.race([restarted, this.#host.over, this.#givenUp.promise]);
    }
  }

  /**
   * Handles the crash of an actor.
   *
   * @returns whether a restart, now or later, handles it
   */
  take(name: string, crash: Crash): boolean {
    const index = this.#children.findIndex(({ names }) => names.includes(name));
    const child = this.#children[index];
    if (child === undefined) return false;
    if (this.#down.has(child)) return true; // an echo
    if (crash.failure.isUserError || this.#isStuck(name, crash)) return this.#giveUp(crash);
    if (child instanceof Supervisor && child.take(name, crash)) return true;
    const counted = this.#countRestart(crash);
    if (counted === undefined) return this.#giveUp(crash);
    this.#counted = counted;
    this.#crash = new ActorCrash(crash);
    for (const [i, other] of this.#children.entries()) {
      const { strategy } = this.#options;
      if (strategy === "one-for-all" || i === index || (strategy === "rest-for-one" && i > index)) {
        this.#down.add(other);
      }
    }
    if (this.#restarting === undefined) {
      const own = this.#restart().finally(() => {
        if (this.#restarting === own) this.#restarting = undefined;
      });
      this.#restarting = own;
    }
    return true;
  }

  /** Whether the actor crashes before it does anything, a second time of the same error: so would the next incarnation. */
  #isStuck(name: string, crash: Crash): boolean {
    return crash.isEarly === true && !this.#host.mayPass(crash.failure) && this.#find(name)!.repeats(crash);
  }

  // deno-lint-ignore no-explicit-any -- of whatever protocol
  #find(name: string): Supervised<any> | undefined {
    const child = this.#children.find(({ names }) => names.includes(name));
    return child instanceof Supervisor ? child.#find(name) : child;
  }

  /** Stops these actors for good, where the run can do without them. Returns whether it can. */
  #giveUp(crash: Crash): boolean {
    const { onGiveUp } = this.#options;
    if (onGiveUp === undefined) return false;
    const error = new ActorCrash(crash);
    const all = [...this.#withDescendants()];
    for (const supervisor of all) supervisor.#hasGivenUp = true;
    this.stop().then(() => {
      for (const supervisor of all) {
        supervisor.#down.clear();
        supervisor.#givenUp.reject(error);
      }
      onGiveUp(error);
    });
    return true;
  }

  *#withDescendants(): Generator<Supervisor> {
    yield this;
    for (const child of this.#children) if (child instanceof Supervisor) yield* child.#withDescendants();
  }

  /** Stops all its actors, and abandons a restart in progress. */
  async stop(): Promise<void> {
    this.#incarnation++;
    this.#restarting = undefined; // it may still wait in a hook; a crash from now on needs one of its own
    this.#down.clear();
    for (const child of this.#children) this.#down.add(child);
    await Promise.all(this.#children.map((child) => child.stop()));
  }

  /** Starts all its actors again, after {@linkcode stop}. */
  start(): void {
    this.#down.clear();
    for (const child of this.#children) child.start();
  }

  /** Returns whether this supervisor or one of its children is restarting actors, except the one given. */
  isRestarting(except: Supervisor): boolean {
    return (this !== except && this.#restarting !== undefined) ||
      this.#children.some((child) => child instanceof Supervisor && child.isRestarting(except));
  }

  /** A restart is done: what it interrupted is done again, here, in what is in here, and in what this is in. */
  #settle(): void {
    const settle = (supervisor: Supervisor) => {
      supervisor.#restarted.resolve();
      supervisor.#restarted = Promise.withResolvers();
    };
    for (const supervisor of this.#withDescendants()) settle(supervisor);
    for (let parent = this.#parent; parent !== undefined; parent = parent.#parent) settle(parent);
  }

  /** How many restarts there are with this one; `undefined` where it would be one too many. */
  #countRestart(crash: Crash): Pick<Restart, "count" | "repeats"> | undefined {
    const { maxRestarts, withinMs } = this.#options;
    if (this.#parent !== undefined && maxRestarts === undefined && withinMs === undefined) {
      return this.#parent.#countRestart(crash);
    }
    const now = performance.now();
    while (this.#times.length > 0 && this.#times[0] < now - (withinMs ?? 60_000)) this.#times.shift();
    const repeats = this.#countRepeats(crash);
    if (Math.max(this.#times.length, repeats - 1) >= (maxRestarts ?? 3)) return undefined;
    this.#times.push(now);
    return { count: ++this.#count, repeats };
  }

  /** How often an actor has crashed of the same error with no progress in between, this time included. */
  #countRepeats(crash: Crash): number {
    const progress = this.#options.progress?.(crash);
    if (progress === undefined) return 1;
    const { message } = new ActorCrash(crash);
    const before = this.#repeats.get(message);
    const count = before === undefined || progress > before.progress ? 1 : before.count + 1;
    this.#repeats.set(message, { progress: Math.max(progress, before?.progress ?? progress), count });
    return count;
  }

  async #restart(): Promise<void> {
    const incarnation = this.#incarnation;
    const isMine = () => incarnation === this.#incarnation && !this.#host.isStopping;
    /** Children that have started again, of which no hook knows yet. */
    const started = new Set<Child>();
    const namesOf = (children: readonly Child[]) => children.flatMap(({ names }) => names);
    while (this.#down.size > 0 && isMine()) {
      const down = this.#children.filter((child) => this.#down.has(child));
      let known = down.length;
      try {
        await Promise.all(down.map((child) => child.stop()));
        if (!isMine()) return;
        if (this.#down.size > known) continue; // another one crashed meanwhile
        const restart = {
          crash: this.#crash!,
          actors: namesOf(down),
          ...this.#counted,
        };
        await this.#options.prepare?.(restart);
        if (!isMine()) return;
        if (this.#down.size > known) continue;
        for (const child of down) {
          child.start(); // throws where its configuration refers to an actor that is down itself
          // From here on its crash is news, and no echo.
          this.#down.delete(child);
          known--;
          started.add(child);
        }
        const actors = namesOf(this.#children.filter((child) => started.has(child)));
        started.clear();
        await this.#options.resume?.({ ...restart, actors });
      } catch (error) {
        // Somebody that a hook spoke to, or a configuration refers to, has ended; the report of that may still be on its way.
        const isOfActor = error instanceof ActorCrash || error instanceof ActorStopped;
        if (error instanceof ActorCrash) this.#host.take(error.actor, error);
        if (!isMine()) return;
        if (this.#down.size > known) continue;
        // Of one that was told to stop no report comes.
        const isAwaited = error instanceof ActorStopped && this.#find(error.actor)?.isStopped === false;
        if (!isOfActor || !(isAwaited || this.#host.isRestarting(this))) {
          this.#host.fail(error);
          return;
        }
        // One of these has ended, and its report comes; or another supervisor starts it again. Whoever is down here waits for that;
        // else that one's hooks do what is left.
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    if (isMine()) this.#settle();
  }
}
