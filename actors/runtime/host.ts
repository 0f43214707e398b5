/** One actor, on whatever thread: its context, its start, what it must give back, its end. */

import type { ActorContext, ActorDefinition, Behaviour } from "./actor.ts";
import { ActorCrash, ActorStopped, blame, type Crash, describeFailure, type Failure } from "./failure.ts";
import { Mailbox } from "./mailbox.ts";
import { ActorRef, type Endpoint, Link, loseIncarnation, waitAt } from "./ref.ts";
import { type ActorStats, Meter } from "./stats.ts";
import { setTimer } from "./timer.ts";
import { Tracer, type TraceSpan } from "./trace.ts";

/** What an actor said before its end comes another way than the news of it. */
const LAST_WORDS_MS = 1000;

/** Runs an actor on the thread it is made on. */
export class ActorHost {
  readonly endpoint: Endpoint;
  readonly mailbox: Mailbox;
  // deno-lint-ignore no-explicit-any -- of whatever protocol
  readonly context: ActorContext<any>;
  readonly #onCrash: (crash: Crash) => void;
  readonly #abort = new AbortController();
  readonly #hooks: (() => void | Promise<void>)[] = [];
  readonly #since = performance.now();
  #startMs = 0;
  #starting: Promise<void> = Promise.resolve();
  #draining: Promise<void> = Promise.resolve();
  // deno-lint-ignore no-explicit-any -- of whatever protocol
  #behaviour?: Behaviour<any>;
  #stopping?: Promise<Failure | undefined>;
  #hasStopped = false;

  /**
   * @param onCrash called once, with the first error, unless the actor must stop anyway
   * @param onTrace is given what the actor did, now and then and at its end; nothing is traced without it
   */
  constructor(
    { name, incarnation, credits }: { name: string; incarnation: number; credits: number },
    onCrash: (crash: Crash) => void,
    onTrace?: (spans: TraceSpan[]) => void,
  ) {
    const tracer = onTrace && new Tracer(onTrace);
    const endpoint: Endpoint = {
      name,
      incarnation,
      meter: new Meter(),
      tracer,
      links: new Set(),
      ended: new Map(),
    };
    const signal = this.#abort.signal;
    // deno-lint-ignore no-explicit-any -- of whatever protocol
    let self: ActorRef<any> | undefined;
    this.endpoint = endpoint;
    this.#onCrash = onCrash;
    const openSelf = () => self = this.connect();
    this.context = {
      name,
      signal,
      get self() {
        return self ?? openSelf();
      },
      onStop: (hook) => {
        if (this.#hasStopped) this.#runHook(hook);
        else this.#hooks.push(hook);
      },
      wait: (promise) => waitAt(endpoint, "something to come back", unlessAborted(promise, signal)),
      waitOutside: (promise) =>
        waitAt(endpoint, "something outside the system", unlessAborted(promise, signal), true),
      async work(what, begin) {
        const start = performance.now();
        try {
          return await endpoint.meter.work(begin);
        } finally {
          tracer?.record("work", what, start);
        }
      },
      fail: (error) => this.fail(error),
    };
    this.mailbox = new Mailbox(this, credits);
  }

  /** The actor's name. */
  get name(): string {
    return this.endpoint.name;
  }

  /** Whether it has started. */
  get isReady(): boolean {
    return this.#behaviour !== undefined;
  }

  /** A reference for this very thread. */
  // deno-lint-ignore no-explicit-any -- of whatever protocol
  connect(endpoint: Endpoint = this.endpoint): ActorRef<any> {
    const { port1, port2 } = new MessageChannel();
    this.mailbox.connect(port2);
    const { name: actor, incarnation } = this.endpoint;
    return new ActorRef(new Link({ actor, incarnation, port: port1 }, endpoint));
  }

  /**
   * Another actor's incarnation is over. Whoever had a link to it was told so by itself, but for one that was being handed over at
   * that moment; and whoever it had a link to, but where its Worker was killed.
   */
  hearOfEnd(actor: string, incarnation: number): void {
    const timer = setTimeout(() => {
      loseIncarnation(this.endpoint, incarnation, new ActorStopped(actor));
      this.mailbox.loseSender(incarnation);
    }, LAST_WORDS_MS);
    Deno.unrefTimer(timer);
  }

  /** Starts the actor and opens its mailbox; returns whether it is ready. */
  // deno-lint-ignore no-explicit-any -- of whatever protocol
  async start(define: () => Promise<ActorDefinition<any, unknown>>, config: unknown): Promise<boolean> {
    const run = async () => {
      this.endpoint.meter.enter();
      try {
        const { start } = await define();
        const behaviour: unknown = await start(config, this.context);
        requireBehaviour(behaviour);
        this.#behaviour = behaviour;
      } catch (error) {
        this.fail(error);
      } finally {
        this.endpoint.meter.leave();
      }
    };
    this.#starting = run();
    await this.#starting;
    if (this.#behaviour === undefined || this.#abort.signal.aborted) return false;
    this.#startMs = performance.now() - this.#since;
    this.endpoint.meter.restart();
    this.mailbox.open(this.#behaviour.handlers);
    return true;
  }

  /** Ends the actor because of an error. What comes after the first, or while the actor stops, is its echo: ignored. */
  fail(error: unknown): void {
    if (this.#abort.signal.aborted) return;
    const blamed = blame(this.endpoint.name, error);
    const isOwn = blamed.actor === this.endpoint.name;
    const crash = { ...blamed, isEarly: isOwn && !this.mailbox.hasHandled };
    this.#abort.abort(new ActorCrash(crash));
    this.#onCrash(crash);
  }

  /** Handles what was sent, then lets the actor send on what it holds back; returns whether that was done. */
  async drain(): Promise<boolean> {
    await this.#starting;
    await this.mailbox.drain();
    if (this.#abort.signal.aborted) return false;
    const run = async () => {
      try {
        await this.#behaviour?.drain?.();
      } catch (error) {
        this.fail(error);
      }
    };
    this.#draining = run();
    await this.#draining;
    return !this.#abort.signal.aborted;
  }

  /**
   * Stops the actor: aborts its signal, rejects what it waits for, tells its senders, waits for its handlers, and runs
   * its `onStop` hooks. Returns what the first hook threw that threw something.
   *
   * @param graceMs how long to wait for the handlers
   */
  stop(graceMs: number, crash?: Crash): Promise<Failure | undefined> {
    return this.#stopping ??= this.#shutDown(graceMs, crash);
  }

  async #shutDown(graceMs: number, crash?: Crash): Promise<Failure | undefined> {
    const reason = crash === undefined
      ? new ActorStopped(this.endpoint.name, "is stopping and sends")
      : new ActorCrash(crash);
    this.#abort.abort(reason);
    for (const link of this.endpoint.links) link.close(reason);
    this.mailbox.close(crash);
    await within(graceMs, Promise.all([this.#starting, this.#draining, this.mailbox.settled()]));
    this.#hasStopped = true;
    let failure: Failure | undefined;
    for (const hook of this.#hooks.reverse()) failure = await this.#runHook(hook) ?? failure;
    this.endpoint.tracer?.flush();
    return failure;
  }

  async #runHook(hook: () => void | Promise<void>): Promise<Failure | undefined> {
    try {
      await hook();
    } catch (error) {
      return describeFailure(error);
    }
  }

  stats(): ActorStats {
    return {
      name: this.endpoint.name,
      startMs: this.#startMs,
      waitsOutside: this.endpoint.meter.waitsOutside,
      ...this.endpoint.meter.read(),
      ...this.mailbox.stats(),
      outgoing: [...this.endpoint.links].map((link) => link.stats()),
    };
  }
}

/** Modules from outside may forget it. */
// deno-lint-ignore no-explicit-any -- of whatever protocol
function requireBehaviour(returned: unknown): asserts returned is Behaviour<any> {
  const isObject = typeof returned === "object" && returned !== null;
  const { handlers } = isObject ? returned as Partial<Behaviour<never>> : {};
  if (typeof handlers === "object" && handlers !== null) return;
  const found = isObject ? "an object without `handlers`" : String(returned);
  throw new TypeError(
    `the function passed to defineActor() returned ${found}, expected an object with \`handlers\``,
  );
}

/** Waits for a promise, but not for ever; returns whether it settled in time. */
export async function within(timeoutMs: number, promise: Promise<unknown>): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimer(() => resolve(false), timeoutMs);
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits for a promise until the signal comes; what becomes of it afterwards concerns nobody, a failure neither. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
  });
}
