/** How an actor is written: its handlers, and what a handler can use. */

import type { Protocol } from "./protocol.ts";
import type { ActorRef } from "./ref.ts";

/** What an actor can use while it starts and in every handler. */
export interface ActorContext<P extends Protocol<P>> {
  /** The name it was spawned with. */
  readonly name: string;
  /** A reference to this actor, to be handed to others. An actor that asks itself, in a handler, waits for ever. */
  readonly self: ActorRef<P>;
  /** Aborted when the actor must stop: a long loop checks it. Whatever a handler throws after that is ignored. */
  readonly signal: AbortSignal;
  /**
   * Runs when the actor stops, for whatever reason, a crash included; the last registered runs first. To be called as
   * soon as there is something to give back: a GPU device must be destroyed here, before its Worker closes.
   */
  onStop(hook: () => void | Promise<void>): void;
  /**
   * Awaits something that another actor will bring about, e.g. that a buffer comes back; the time counts as waiting, not
   * as busy. Rejects when the actor must stop.
   */
  wait<T>(promise: Promise<T>): Promise<T>;
  /**
   * Awaits what goes on behind a handler, such as a device's work on a message whose handler has ended; the time counts as
   * busy.
   *
   * @param what names it in traces
   */
  work<T>(what: string, promise: Promise<T>): Promise<T>;
}

/** What a handler can use. */
export interface MessageContext<P extends Protocol<P>> extends ActorContext<P> {
  /** The actor that sent the message. */
  readonly from: string;
  /**
   * Takes it upon the handler when the sender gets its credit back: when the function that is returned is called,
   * instead of at the end of the handler. Called within the handler, the next message can come early; called later, the
   * message counts as in flight although its handler has ended, e.g. because its buffers are still in use.
   */
  defer(): () => void;
}

/** Does what a message says, and returns the reply. What it throws ends the actor, and with it the run. */
export type Handler<P extends Protocol<P>, Payload, Reply> = (
  payload: Payload,
  context: MessageContext<P>,
) => Reply | Promise<Reply>;

/** A handler that does not wait for its turn; made by {@linkcode urgent}. */
export interface UrgentHandler<P extends Protocol<P>, Payload, Reply> {
  /** The handler. */
  readonly urgent: Handler<P, Payload, Reply>;
}

/** One handler for every message. */
export type Handlers<P extends Protocol<P>> = {
  readonly [K in keyof P]:
    | Handler<P, P[K]["payload"], P[K]["reply"]>
    | UrgentHandler<P, P[K]["payload"], P[K]["reply"]>;
};

/** What a started actor does. */
export interface Behaviour<P extends Protocol<P>> {
  /**
   * Messages are handled one at a time, in the order in which they came: the next one waits until the promise of the
   * handler before it has settled. The exception are {@linkcode urgent} ones.
   */
  readonly handlers: Handlers<P>;
  /** Called by `drain()`, when all messages are handled: sends on what is still held back, e.g. half a batch. */
  drain?(): void | Promise<void>;
}

/** An actor as its module exports it by default. */
export interface ActorDefinition<P extends Protocol<P>, Config> {
  /** What was given to {@linkcode defineActor}. */
  readonly start: (config: Config, context: ActorContext<P>) => Behaviour<P> | Promise<Behaviour<P>>;
}

/** The protocol of an actor's definition. */
// deno-lint-ignore no-explicit-any -- the inferred type takes its place
export type ProtocolOf<D> = D extends ActorDefinition<infer P, any> ? P : never;

/** What an actor's definition wants to be started with. */
// deno-lint-ignore no-explicit-any -- a protocol is invariant, and of no interest here
export type ConfigOf<D> = D extends ActorDefinition<any, infer Config> ? Config : never;

/**
 * Defines the actor of a module, as its default export. Importing the module starts nothing; `ActorSystem.spawn()` does.
 *
 * @param start runs once in the actor's own Worker; may take its time (load weights, open a device). What it makes is
 * the actor's state: the handlers it returns close over it. The configuration is a copy; references in it work.
 */
export function defineActor<P extends Protocol<P>, Config = void>(
  start: ActorDefinition<P, Config>["start"],
): ActorDefinition<P, Config> {
  return { start };
}

/**
 * Lets a handler run as soon as its message arrives, even while another handler awaits something, and takes no credit
 * for it. For what must not stand in line: giving back a buffer to a handler that waits for one, a question about
 * progress, a request to finish. It sees state that another handler may be in the middle of changing, so it should be
 * short; and it has no bound, so its sender needs a reason of its own not to flood it.
 */
export function urgent<P extends Protocol<P>, Payload, Reply>(
  handler: Handler<P, Payload, Reply>,
): UrgentHandler<P, Payload, Reply> {
  return { urgent: handler };
}
