/** A place for an actor on the thread of its system, which looks like a Worker from there. */

import { ControlledActor } from "./controlled_actor.ts";
import { ActorCrash, ActorStopped } from "./failure.ts";
import type { Control, Report } from "./wire.ts";

/** What a system needs of an actor's thread: a Worker is one. */
export type Thread = Pick<Worker, "postMessage" | "terminate" | "onmessage" | "onmessageerror" | "onerror">;

/** What systems of actors on this thread have failed with. */
const failures = new WeakSet<object>();

/** Has an error end the program where nobody handles it, as in a system whose actors have Workers. */
export function mustBeHandled(failure: ActorCrash): void {
  failures.add(failure);
}

let ignoresEchoes = false;

/**
 * What an actor sends without awaiting it rejects when either side ends. In a Worker that is the echo of an end that the system
 * knows of; here it would be an error of the program.
 */
function ignoreEchoes(): void {
  if (ignoresEchoes) return;
  ignoresEchoes = true;
  addEventListener("unhandledrejection", (event) => {
    const { reason } = event;
    const isEcho = reason instanceof ActorStopped || reason instanceof ActorCrash;
    if (isEcho && !failures.has(reason)) event.preventDefault();
  });
}

/**
 * Runs an actor on this thread. Messages are cloned and buffers change hands as they do on the way to a Worker. An error in one of its
 * timers is an error of this thread, and what computes without awaiting holds up everybody.
 */
export class SameThread implements Thread {
  onmessage: Worker["onmessage"] = null;
  onmessageerror: Worker["onmessageerror"] = null;
  onerror: Worker["onerror"] = null;
  readonly #port: MessagePort;

  constructor() {
    ignoreEchoes();
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const actor = new ControlledActor({
      report: (report: Report) => port2.postMessage(report),
      close: () => setTimeout(() => this.terminate()),
    });
    port2.onmessage = (event: MessageEvent<Control>) => actor.take(event.data);
    port1.onmessage = (event) => this.onmessage?.call(this as unknown as Worker, event);
    port1.onmessageerror = (event) => this.onmessageerror?.call(this as unknown as Worker, event);
  }

  postMessage(message: unknown, transfer: Transferable[] | StructuredSerializeOptions = []): void {
    this.#port.postMessage(message, transfer as Transferable[]);
  }

  /** Hears nothing more of it. What it does on this thread cannot be ended from outside. */
  terminate(): void {
    this.#port.close();
  }
}
