/** One spawned actor, as the thread that spawned it sees it. */

import { ActorCrash, ActorStopped, type Crash, describeFailure, StartTimeout } from "./failure.ts";
import { within } from "./host.ts";
import type { Protocol } from "./protocol.ts";
import { ActorRef, type Endpoint, type EndReason, Link, loseIncarnation } from "./ref.ts";
import type { ActorStats } from "./stats.ts";
import { setTimer } from "./timer.ts";
import type { TraceSpan } from "./trace.ts";
import { SameThread, type Thread } from "./same_thread.ts";
import { pack, postPacked } from "./transfer.ts";
import type { Control, Report } from "./wire.ts";

/** Deno's own: there are packages, onnxruntime-web for one, that put another class in its place later. */
const DenoWorker = Worker;

/** How long `onStop` hooks may take after the grace period, before a Worker counts as one that does not answer. */
const HOOKS_MS = 2000;

/** Options for `ActorSystem.spawn()`. */
export interface SpawnOptions {
  /** Messages that each holder of a reference may have in flight, at least 1. Default: 2. */
  credits?: number;
  /** How long the actor may take until it is ready, in ms; `Infinity` for as long as it likes. Default: what the system says. */
  startTimeoutMs?: number;
}

/** What an actor is spawned with. */
export interface ActorSettings {
  name: string;
  /** See `Endpoint`. */
  incarnation: number;
  url: string;
  config: unknown;
  credits: number;
  startTimeoutMs: number;
  graceMs: number;
  /** Of modules to import first. */
  imports: readonly string[];
  /** Whether {@linkcode ActorEvents.onTrace} is to be called. */
  traces: boolean;
  /** Whether it runs on this thread instead of in a Worker. */
  oneThread: boolean;
}

/** What the system wants to know of an actor. */
export interface ActorEvents {
  onCrash(crash: Crash): void;
  /** What the actor did. */
  onTrace(spans: TraceSpan[]): void;
  onEnd(wasTerminated: boolean): void;
  /** What to reject with whatever still waits for an actor that has ended. */
  endReason(): EndReason;
}

/** A spawned actor and its thread: a Worker, or that of its system. */
export class Actor<P extends Protocol<P>> {
  /** The name it was spawned with. */
  readonly name: string;
  /** The main thread's reference. An actor that it is sent to gets its own link. */
  readonly ref: ActorRef<P>;
  /** Resolves when the actor has started. Rejects if it ends before that; the system already has the reason then. */
  readonly ready: Promise<void>;
  /**
   * Resolves when the actor has ended, with its stats at the time it was told to stop. Resolves with `undefined` if
   * its Worker failed or was terminated.
   */
  readonly ended: Promise<ActorStats | undefined>;
  readonly #incarnation: number;
  readonly #thread: Thread;
  readonly #endpoint: Endpoint;
  readonly #events: ActorEvents;
  readonly #graceMs: number;
  readonly #ready = Promise.withResolvers<void>();
  readonly #drained = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<ActorStats | undefined>();
  readonly #stats = new Map<number, PromiseWithResolvers<ActorStats>>();
  readonly #startTimer: ReturnType<typeof setTimeout> | undefined;
  #isReady = false;
  #nextId = 0;
  #isDraining = false;
  #stopping?: Promise<void>;
  /** What it said that it crashed of. */
  #crash?: Crash;
  #hasEnded = false;

  /** Made by `ActorSystem.spawn()`. */
  constructor(settings: ActorSettings, endpoint: Endpoint, events: ActorEvents) {
    const { name, incarnation, url, config, credits, startTimeoutMs, graceMs, imports, traces, oneThread } =
      settings;
    const what = `configuration of actor "${name}"`;
    const packed = pack(what, config, []);
    this.name = name;
    this.#incarnation = incarnation;
    this.#endpoint = endpoint;
    this.#events = events;
    this.#graceMs = graceMs;
    this.ready = this.#ready.promise;
    this.ready.catch(() => {}); // the system reports it
    this.ended = this.#ended.promise;
    this.#drained.promise.catch(() => {});

    this.#thread = oneThread
      ? new SameThread()
      : new DenoWorker(new URL("./worker.ts", import.meta.url), { type: "module", name });
    this.#thread.onmessage = (event: MessageEvent<Report>) => this.#receive(event.data);
    this.#thread.onmessageerror = () =>
      this.#die(new Error("a report from the Worker could not be deserialized"));
    this.#thread.onerror = (event) => {
      event.preventDefault();
      this.#die(new Error(event.message));
    };
    this.#startTimer = setTimer(() => {
      const failure = describeFailure(new StartTimeout(name, startTimeoutMs));
      events.onCrash({ actor: name, failure, isEarly: true });
    }, startTimeoutMs);

    const { port1, port2 } = new MessageChannel();
    const start = {
      kind: "start",
      name,
      incarnation,
      url,
      credits,
      graceMs,
      imports,
      traces,
      port: port2,
    } as const;
    try {
      postPacked(what, packed, (config, transfer) => this.#post({ ...start, config }, [...transfer, port2]));
    } catch (error) { // something in the configuration cannot be sent
      clearTimeout(this.#startTimer);
      this.#thread.terminate();
      port1.close();
      throw error;
    }
    this.ref = new ActorRef(new Link({ actor: name, incarnation, port: port1 }, endpoint));
  }

  /**
   * Handles all messages already sent, refuses new ones, and then calls the actor's `drain` hook. The actor still
   * answers urgent messages until it is stopped.
   *
   * @throws {ActorCrash} the actor crashed
   * @throws {ActorStopped} if the actor ended before that
   */
  async drain(): Promise<void> {
    if (!this.#isDraining && !this.#hasEnded) this.#post({ kind: "drain" });
    this.#isDraining = true;
    await this.#drained.promise;
  }

  /**
   * Stops the actor: aborts its signal, rejects what it waits for, runs its `onStop` hooks and closes its Worker. A
   * Worker that does not close in time, because it computes without awaiting, is terminated. That is the last resort:
   * terminating a Worker with a GPU device can crash the process, and Deno (2.9) does not interrupt what it computes,
   * which keeps a core busy until it awaits or the process ends.
   */
  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  /**
   * Crashes the actor, as if one of its timers had thrown: for what others find wrong with it, and to test what depends on it. Unlike the Worker's
   * `terminate()`, this releases the actor's resources.
   */
  crash(error: Error): void {
    if (!this.#hasEnded) this.#post({ kind: "fail", failure: describeFailure(error) });
  }

  /**
   * Terminates the actor's Worker at once, without running its hooks or notifying who waits for it, to test what
   * depends on it. Can crash the process if the actor has a GPU device.
   */
  kill(): void {
    if (this.#hasEnded) return;
    this.#thread.terminate();
    this.#die(new Error("its Worker was killed"));
  }

  /**
   * Tells it that another actor's incarnation is over.
   *
   * @ignore
   */
  hearOfEnd(actor: string, incarnation: number): void {
    if (!this.#hasEnded) this.#post({ kind: "ended", actor, incarnation });
  }

  /** Whether the actor has started. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Returns how the actor spends its time, and what is in flight. Answered between the awaits of its handlers. */
  stats(): Promise<ActorStats> {
    if (this.#hasEnded) return Promise.reject(new ActorStopped(this.name));
    const answer = Promise.withResolvers<ActorStats>();
    const id = this.#nextId++;
    this.#stats.set(id, answer);
    this.#post({ kind: "stats", id });
    return answer.promise;
  }

  async #stop(): Promise<void> {
    if (this.#hasEnded) return;
    this.#post({ kind: "stop" });
    if (await within(this.#graceMs + HOOKS_MS, this.#ended.promise)) return;
    this.#thread.terminate();
    this.#end(true);
  }

  #receive(report: Report): void {
    switch (report.kind) {
      case "ready":
        clearTimeout(this.#startTimer);
        this.#isReady = true;
        this.#ready.resolve();
        break;
      case "drained":
        this.#drained.resolve();
        break;
      case "stats":
        this.#stats.get(report.id)?.resolve(report.stats);
        this.#stats.delete(report.id);
        break;
      case "spans":
        this.#events.onTrace(report.spans);
        break;
      case "crashed":
        this.#crash = report.crash;
        this.#events.onCrash(report.crash);
        break;
      case "stopped":
        if (report.failure !== undefined) {
          this.#events.onCrash({ actor: this.name, failure: report.failure });
        }
        this.#end(false, undefined, report.stats);
    }
  }

  /** The Worker itself broke, and has ended without a word. */
  #die(error: Error): void {
    const crash = { actor: this.name, failure: describeFailure(error) };
    this.#events.onCrash(crash);
    this.#end(false, new ActorCrash(crash));
  }

  /** @param reason what to reject with whatever still waits: the same that the actor itself tells its senders, who may hear of it later */
  #end(wasTerminated: boolean, reason = this.#endReason(), stats?: ActorStats): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    clearTimeout(this.#startTimer);
    this.#ready.reject(reason);
    this.#drained.reject(reason);
    for (const { reject } of this.#stats.values()) reject(reason);
    this.#stats.clear();
    loseIncarnation(this.#endpoint, this.#incarnation, reason);
    this.#events.onEnd(wasTerminated);
    this.#ended.resolve(stats);
  }

  #endReason(): EndReason {
    return this.#crash === undefined ? this.#events.endReason() : new ActorCrash(this.#crash);
  }

  #post(control: Control, transfer: Transferable[] = []): void {
    this.#thread.postMessage(control, transfer);
  }
}
