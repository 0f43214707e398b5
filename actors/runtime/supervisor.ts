/** Starts crashed actors again, after the model of Erlang's supervisors. */

import type { ActorDefinition, ConfigOf, ProtocolOf } from "./actor.ts";
import { ActorCrash, ActorStopped, type Crash } from "./failure.ts";
import type { Actor, SpawnOptions } from "./handle.ts";
import type { Protocol } from "./protocol.ts";
import type { ActorRef } from "./ref.ts";

/**
 * Who is started again when one crashes: that one; that one and those that were spawned after it; or all.
 */
export type RestartStrategy = "one-for-one" | "rest-for-one" | "one-for-all";

/** A restart under way. */
export interface Restart {
  /** What went wrong. */
  crash: ActorCrash;
  /** Names of the actors that are started again, in the order in which they were spawned. */
  actors: readonly string[];
  /** Restarts so far, this one among them. */
  count: number;
}

/** What may be done about a restart. */
export interface RestartHooks {
  /**
   * The actors have stopped and are not started yet: the time to ask those that go on where they are. What it throws
   * ends the run, unless it is the crash of another supervised actor.
   */
  prepare?(restart: Restart): void | Promise<void>;
  /** The actors have been spawned again: the time to tell others of their new references. */
  resume?(restart: Restart): void | Promise<void>;
}

/** Options of {@linkcode Supervisor}s. */
export interface SupervisorOptions extends RestartHooks {
  /** Who is started again. */
  strategy: RestartStrategy;
  /** After so many restarts within {@linkcode withinMs} the next crash is passed on, or ends the run. Default: 3. */
  maxRestarts?: number;
  /** Default: a minute. */
  withinMs?: number;
  /**
   * Where a run can do without these actors: a crash that no restart mends stops them for good and comes here, instead of
   * ending the run. What waits for them in {@linkcode Supervisor.retry} rejects with it.
   */
  onGiveUp?(crash: ActorCrash): void;
}

/** What a supervisor needs of its system. */
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
  /** Whether it stops, or has stopped. */
  readonly isStopping: boolean;
  /** Something failed that no restart can mend. */
  fail(error: unknown): void;
  /** An actor crashed; returns whether some supervisor takes care of it. */
  take(name: string, crash: Crash): boolean;
  /** Whether any supervisor but one is about to start actors again. */
  isRestarting(except: Supervisor): boolean;
}

/** An actor that is started again when it crashes. */
export class Supervised<P extends Protocol<P>> {
  /** The name that each of its incarnations has. */
  readonly name: string;
  readonly #spawn: () => Actor<P>;
  #actor: Actor<P>;

  /** Made by {@linkcode Supervisor.spawn}. */
  constructor(name: string, spawn: () => Actor<P>) {
    this.name = name;
    this.#spawn = spawn;
    this.#actor = spawn();
  }

  /** Its present incarnation. */
  get actor(): Actor<P> {
    return this.#actor;
  }

  /** A reference to its present incarnation. */
  get ref(): ActorRef<P> {
    return this.#actor.ref;
  }

  /** Ends this incarnation. */
  stop(): Promise<void> {
    return this.#actor.stop();
  }

  /** Begins the next one. */
  start(): void {
    this.#actor = this.#spawn();
  }

  /** Its name, as a supervisor has several. */
  get names(): readonly string[] {
    return [this.name];
  }
}

/** When a hook is called again that failed because of another restart. */
const RETRY_MS = 50;

// deno-lint-ignore no-explicit-any -- of whatever protocol
type Child = Supervised<any> | Supervisor;

/**
 * Owns actors, and other supervisors, in the order in which they were spawned. A crash of an actor that is a `UserError` is
 * not answered by a restart: nothing would be better the next time.
 */
export class Supervisor {
  readonly #host: SupervisorHost;
  readonly #options: SupervisorOptions;
  readonly #parent: Supervisor | undefined;
  readonly #children: Child[] = [];
  readonly #times: number[] = [];
  /** Children that are stopped, or about to be, and not yet started again. */
  readonly #down = new Set<Child>();
  #crash?: ActorCrash;
  #count = 0;
  #restarting?: Promise<void>;
  /** Resolves when a restart is done. */
  #restarted = Promise.withResolvers<void>();
  /** Rejects when these actors were given up, and have stopped. */
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

  /** Names of all actors in here. */
  get names(): readonly string[] {
    if (this.#hasGivenUp && this.#down.size === 0) return []; // they have stopped, and others may have their names
    return this.#children.flatMap(({ names }) => names);
  }

  /**
   * Spawns an actor that is started again when it crashes; see `ActorSystem.spawn()`.
   *
   * @param config makes the configuration, for each incarnation anew: references in it must lead to actors that live then
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

  /** A supervisor in the place of a child: what it cannot mend is a crash of its own. It has this one's hooks. */
  supervise(options: Omit<SupervisorOptions, keyof RestartHooks | "onGiveUp">): Supervisor {
    const { prepare, resume } = this.#options;
    const child = new Supervisor(this.#host, { ...options, prepare, resume }, this);
    this.#children.push(child);
    return child;
  }

  /**
   * Does something with the actors in here, and does it again where one of them crashes meanwhile: after the restart.
   *
   * @param work uses each actor's present {@linkcode Supervised.ref}; what it sends the first time may be gone
   * @throws what the work throws, and what the run ends with if there is no restart
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
   * An actor of that name crashed.
   *
   * @returns whether this is taken care of
   */
  take(name: string, crash: Crash): boolean {
    const index = this.#children.findIndex(({ names }) => names.includes(name));
    const child = this.#children[index];
    if (child === undefined) return false;
    if (this.#down.has(child)) return true; // an echo
    if (crash.failure.isUserError) return this.#giveUp(crash);
    if (child instanceof Supervisor && child.take(name, crash)) return true;
    if (!this.#isAllowed()) return this.#giveUp(crash);
    this.#crash = new ActorCrash(crash);
    for (const [i, other] of this.#children.entries()) {
      const { strategy } = this.#options;
      if (strategy === "one-for-all" || i === index || (strategy === "rest-for-one" && i > index)) {
        this.#down.add(other);
      }
    }
    this.#restarting ??= this.#restart().finally(() => this.#restarting = undefined);
    return true;
  }

  /** Stops these actors for good, where the run can do without them. Returns whether it can. */
  #giveUp(crash: Crash): boolean {
    const { onGiveUp } = this.#options;
    if (onGiveUp === undefined) return false;
    const error = new ActorCrash(crash);
    this.#hasGivenUp = true;
    this.stop().then(() => {
      this.#down.clear();
      this.#givenUp.reject(error);
      onGiveUp(error);
    });
    return true;
  }

  /** Stops all that is in here; a restart under way is given up. */
  async stop(): Promise<void> {
    this.#incarnation++;
    this.#down.clear();
    for (const child of this.#children) this.#down.add(child);
    await Promise.all(this.#children.map((child) => child.stop()));
  }

  /** Starts all that is in here, after {@linkcode stop}. */
  start(): void {
    this.#down.clear();
    for (const child of this.#children) child.start();
  }

  /** Whether this supervisor, or one in here, is about to start actors again. */
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
    const settleDown = (supervisor: Supervisor) => {
      settle(supervisor);
      for (const child of supervisor.#children) if (child instanceof Supervisor) settleDown(child);
    };
    settleDown(this);
    for (let parent = this.#parent; parent !== undefined; parent = parent.#parent) settle(parent);
  }

  #isAllowed(): boolean {
    const { maxRestarts = 3, withinMs = 60_000 } = this.#options;
    const now = performance.now();
    while (this.#times.length > 0 && this.#times[0] < now - withinMs) this.#times.shift();
    if (this.#times.length >= maxRestarts) return false;
    this.#times.push(now);
    this.#count++;
    return true;
  }

  async #restart(): Promise<void> {
    const incarnation = this.#incarnation;
    const isMine = () => incarnation === this.#incarnation && !this.#host.isStopping;
    while (this.#down.size > 0 && isMine()) {
      const down = this.#children.filter((child) => this.#down.has(child));
      let known = down.length;
      try {
        await Promise.all(down.map((child) => child.stop()));
        if (!isMine()) return;
        if (this.#down.size > known) continue; // another one crashed meanwhile
        const restart = {
          crash: this.#crash!,
          actors: down.flatMap(({ names }) => names),
          count: this.#count,
        };
        await this.#options.prepare?.(restart);
        if (!isMine()) return;
        if (this.#down.size > known) continue;
        this.#down.clear();
        known = 0;
        for (const child of down) child.start();
        await this.#options.resume?.(restart);
      } catch (error) {
        // Somebody that a hook spoke to has ended; the report of that may still be on its way.
        const isOfActor = error instanceof ActorCrash || error instanceof ActorStopped;
        if (error instanceof ActorCrash) this.#host.take(error.actor, error);
        if (!isMine()) return;
        if (this.#down.size > known) continue;
        if (!isOfActor || !this.#host.isRestarting(this)) {
          this.#host.fail(error);
          return;
        }
        // Another supervisor starts it again. Whoever is down here waits for that; else that one's hooks do what is left.
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    if (isMine()) this.#settle();
  }
}
