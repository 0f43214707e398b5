/** An actor as the system that spawned it controls it, on whatever thread: it takes commands and reports back. */

import { type Crash, restoreError } from "./failure.ts";
import { ActorHost } from "./host.ts";
import { ActorRef, Link } from "./ref.ts";
import { unpack } from "./transfer.ts";
import type { Control, Report } from "./wire.ts";

/** What the thread does for its actor. */
export interface ActorThread {
  report(report: Report): void;
  /** Called once, after the last report. */
  close(): void;
}

/** One actor and its end of the control channel. */
export class ControlledActor {
  readonly #thread: ActorThread;
  #host!: ActorHost;
  #graceMs = 0;
  #hasEnded = false;

  constructor(thread: ActorThread) {
    this.#thread = thread;
  }

  /** Name of the actor. */
  get name(): string {
    return this.#host.endpoint.name;
  }

  /** Whether the last report is out. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Ends the actor because of an error that none of its handlers threw. */
  fail(error: unknown): void {
    this.#host.fail(error);
  }

  /** Takes a command. The first one is `start`. */
  take(control: Control): void {
    switch (control.kind) {
      case "start":
        this.#start(control);
        break;
      case "drain":
        this.#host.drain().then((isDrained) => isDrained && this.#thread.report({ kind: "drained" }));
        break;
      case "stop":
        this.#end();
        break;
      case "fail":
        this.#host.fail(restoreError(control.failure));
        break;
      case "ended":
        this.#host.hearOfEnd(control.actor, control.incarnation);
        break;
      case "stats":
        this.#thread.report({ kind: "stats", id: control.id, stats: this.#host.stats() });
    }
  }

  async #start(
    { name, incarnation, url, config, credits, graceMs, imports, traces, port }: Control & { kind: "start" },
  ): Promise<void> {
    this.#graceMs = graceMs;
    const onCrash = (crash: Crash) => {
      this.#thread.report({ kind: "crashed", crash });
      this.#end(crash);
    };
    const host = this.#host = new ActorHost(
      { name, incarnation, credits },
      onCrash,
      traces ? (spans) => this.#thread.report({ kind: "spans", spans }) : undefined,
    );
    host.mailbox.connect(port);
    const define = async () => {
      for (const other of imports) await import(other);
      const definition = (await import(url)).default;
      if (typeof definition?.start !== "function") {
        throw new TypeError(`${url}: expected a default export made by defineActor()`);
      }
      return definition;
    };
    const isReady = await host.start(
      define,
      unpack(config, (shared) => new ActorRef(new Link(shared, host.endpoint))),
    );
    if (isReady) this.#thread.report({ kind: "ready" });
  }

  async #end(crash?: Crash): Promise<void> {
    const stats = this.#host.stats(); // of before its links are closed
    const failure = await this.#host.stop(this.#graceMs, crash);
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#thread.report({ kind: "stopped", failure, stats });
    this.#thread.close();
  }
}
