/** How an actor is written: its handlers, and what a handler can use. */

import type { Protocol } from "./protocol.ts";
import type { ActorRef } from "./ref.ts";

/** Interface to the runtime for an actor's start and its handlers. */
export interface ActorContext<P extends Protocol<P>> {
  /** The name it was spawned with. */
  readonly name: string;
  /** Reference to this actor, to send to others. An actor that asks itself in a handler waits forever. */
  readonly self: ActorRef<P>;
  /** Aborts when the actor must stop; long loops should check it. What a handler throws after that is ignored. */
  readonly signal: AbortSignal;
  /**
   * Registers a hook that runs when the actor stops, for any reason including a crash; the last one registered runs
   * first. Register it as soon as there is something to release: a GPU device must be destroyed before its Worker
   * closes.
   */
  onStop(hook: () => void | Promise<void>): void;
  /**
   * Awaits something that another actor does, such as returning a buffer. The time counts as waiting, not as busy.
   * Rejects when the actor must stop.
   */
  wait<T>(promise: Promise<T>): Promise<T>;
  /**
   * Awaits something outside the system, such as another process, or a program that takes results slowly. The time counts as
   * waiting; a watchdog takes it for progress, since no actor here can be the cause. Rejects when the actor must stop.
   */
  waitOutside<T>(promise: Promise<T>): Promise<T>;
  /**
   * Begins work that continues after a handler has ended, such as a device's, and awaits it. The time counts as busy, from
   * the call of `begin` on, whatever else the actor waits for: a software device computes while that call goes on.
   *
   * @param what name of the work in traces
   * @param begin called at once
   */
  work<T>(what: string, begin: () => Promise<T>): Promise<T>;
  /** Ends the actor because of an error in something that no handler awaits. Does nothing where it must stop anyway. */
  fail(error: unknown): void;
}

/** Interface to the runtime for a handler. */
export interface MessageContext<P extends Protocol<P>> extends ActorContext<P> {
  /** Name of the actor that sent the message. */
  readonly from: string;
  /**
   * Lets the handler decide when the sender gets its credit back: when the returned function is called, instead of
   * when the handler ends. Called within the handler, it lets the next message come early. Called later, it keeps the
   * message in flight after the handler has ended, for example while its buffers are in use.
   */
  defer(): () => void;
}

/**
 * Handles a message and returns the reply. An error that it throws crashes the actor, and ends the run if nothing
 * restarts it.
 */
export type Handler<P extends Protocol<P>, Payload, Reply> = (
  payload: Payload,
  context: MessageContext<P>,
) => Reply | Promise<Reply>;

/** A handler that runs at once, made by {@linkcode urgent}. */
export interface UrgentHandler<P extends Protocol<P>, Payload, Reply> {
  /** The handler. */
  readonly urgent: Handler<P, Payload, Reply>;
}

/** One handler per message. */
export type Handlers<P extends Protocol<P>> = {
  readonly [K in keyof P]:
    | Handler<P, P[K]["payload"], P[K]["reply"]>
    | UrgentHandler<P, P[K]["payload"], P[K]["reply"]>;
};

/** Behaviour of a started actor. */
export interface Behaviour<P extends Protocol<P>> {
  /**
   * Handlers by message name. Messages are handled one at a time, in order of arrival: each waits until the previous
   * handler's promise has settled. {@linkcode urgent} handlers are the exception.
   */
  readonly handlers: Handlers<P>;
  /** Called by `drain()` when all messages have been handled: sends on what is held back, such as a partial batch. */
  drain?(): void | Promise<void>;
}

/** Definition of an actor, the default export of its module. */
export interface ActorDefinition<P extends Protocol<P>, Config> {
  /** The function passed to {@linkcode defineActor}. */
  readonly start: (config: Config, context: ActorContext<P>) => Behaviour<P> | Promise<Behaviour<P>>;
}

/** The protocol of an actor's definition. */
// deno-lint-ignore no-explicit-any -- the inferred type takes its place
export type ProtocolOf<D> = D extends ActorDefinition<infer P, any> ? P : never;

/** The configuration of an actor's definition. */
// deno-lint-ignore no-explicit-any -- a protocol is invariant, and of no interest here
export type ConfigOf<D> = D extends ActorDefinition<any, infer Config> ? Config : never;

/**
 * Defines the actor of a module, as its default export. Importing the module starts nothing; `ActorSystem.spawn()` does.
 *
 * @param start runs once in the actor's own Worker, and may take long, to load weights or open a device. What it
 *   makes is the actor's state, which the returned handlers close over. The configuration is a copy; references in it
 *   work.
 */
export function defineActor<P extends Protocol<P>, Config = void>(
  start: ActorDefinition<P, Config>["start"],
): ActorDefinition<P, Config> {
  return { start };
}

/**
 * Makes a handler run as soon as its message arrives, even while another handler awaits something. The message uses
 * no credit. This is for messages that must not queue: returning a buffer that a handler waits for, a progress query,
 * a request to finish. Another handler may be in the middle of changing the state, so keep it short. Nothing bounds
 * the number of such messages, so the sender must.
 */
export function urgent<P extends Protocol<P>, Payload, Reply>(
  handler: Handler<P, Payload, Reply>,
): UrgentHandler<P, Payload, Reply> {
  return { urgent: handler };
}
