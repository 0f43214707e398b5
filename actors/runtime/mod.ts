/**
 * Actors in Web Workers, with typed messages, bounded mailboxes and supervision.
 *
 * An actor is a module with one role, which runs in a Worker of its own and has nothing in common with others but the
 * messages they send each other. It exports a definition: a function that makes its state and returns its handlers.
 *
 * ```ts
 * // counter.ts
 * import { type ActorRef, defineActor, type Message, urgent } from "@actors/runtime";
 *
 * export type Printer = { print: Message<string> };
 * export type Counter = {
 *   add: Message<Uint8Array>; // a message without reply
 *   sum: Message<void, number>; // no payload, and a reply
 *   progress: Message<void, number>;
 * };
 *
 * export default defineActor<Counter, { start: number; printer: ActorRef<Printer> }>((config, context) => {
 *   let sum = config.start;
 *   let batches = 0;
 *   context.onStop(() => console.log("the counter gives back what it has"));
 *   return {
 *     handlers: {
 *       async add(bytes) {
 *         for (const byte of bytes) sum += byte;
 *         batches++;
 *         await config.printer.tell("print", `batch ${batches} brings the sum to ${sum}`);
 *       },
 *       sum: () => sum,
 *       progress: urgent(() => batches), // answered at once, even while `add` awaits
 *     },
 *   };
 * });
 * ```
 *
 * ```ts
 * // main.ts
 * import { ActorSystem } from "@actors/runtime";
 * import type counter from "./counter.ts";
 * import type { Printer } from "./counter.ts";
 *
 * const system = new ActorSystem();
 * const sum = await system.run(async () => {
 *   const printer = system.listen<Printer>("printer", { print: (line) => console.log(line) });
 *   const url = new URL("./counter.ts", import.meta.url);
 *   const { ref } = system.spawn<typeof counter>("counter", url, { start: 10, printer });
 *   for (let i = 1; i <= 3; i++) await ref.tell("add", new Uint8Array([i, i]));
 *   return await ref.ask("sum");
 * });
 * console.log(`sum: ${sum}`); // sum: 22
 * ```
 *
 * - **Messages.** `tell` sends, `ask` sends and waits for a reply, with a timeout. Buffers in a payload or a reply change
 *   hands instead of being copied: the sender cannot use them any more, nor any other view of them. A handler that
 *   returns part of its state returns a copy (`slice()`).
 * - **Order.** An actor handles one message at a time, in the order of arrival; messages through one reference arrive in
 *   the order they were sent, while those through different ones have no order between them. Handlers marked
 *   {@linkcode urgent} run at once, between the awaits of others.
 * - **Credits.** Who holds a reference may have two messages in flight, or as many as `spawn` says; a credit comes back
 *   when the handler has finished, or when it says so ({@linkcode MessageContext.defer}). `await ref.tell()` waits for
 *   one. So a slow actor holds those before it back, and memory stays flat. Actors whose messages go round in a ring can
 *   wait for each other for ever; the way back (an empty buffer) is an urgent message.
 * - **References** can be sent, and lead straight to their actor: the main thread carries no messages between others.
 * - **Sources.** An actor that makes messages does so in a handler that loops; it checks `context.signal`, and what it
 *   waits for reaches it through urgent messages.
 * - **Life.** `spawn` starts, `actor.ready` waits for the start, `drain` handles what was sent and refuses more, `stop`
 *   ends. `actor.stats()` tells how much of the time an actor was busy, waited for others, or had nothing to do.
 * - **Crashes.** Whatever an actor throws ends it, and ends the run: everything that waits for it rejects, all others
 *   are stopped, and {@linkcode ActorSystem.run} rejects with an {@linkcode ActorCrash} that has the actor's name and its
 *   error. A failure that the asker is meant to deal with is a reply.
 * - **Restarts.** Actors that a {@linkcode Supervisor} spawned are started again instead, alone or with others
 *   ({@linkcode RestartStrategy}), so many times within a while; hooks say what they begin with and tell others of their
 *   new references. A `UserError` is never answered by a restart.
 * - **Standstill.** A `watchdog` names actors that do not answer, that all wait for each other, or that are busy with one
 *   message or their start for very long, with what is in their mailboxes.
 *
 * @module
 */

export {
  type ActorContext,
  type ActorDefinition,
  type Behaviour,
  type ConfigOf,
  defineActor,
  type Handler,
  type Handlers,
  type MessageContext,
  type ProtocolOf,
  urgent,
  type UrgentHandler,
} from "./actor.ts";
export { ActorCrash, ActorStopped, AskTimeout, type Crash, type Failure, StartTimeout } from "./failure.ts";
export type { Actor, SpawnOptions } from "./handle.ts";
export { DEFAULT_CREDITS } from "./mailbox.ts";
export type { Message, MessageName, Protocol } from "./protocol.ts";
export {
  type ActorRef,
  type AskOptions,
  DEFAULT_ASK_TIMEOUT_MS,
  type SendArguments,
  type TellOptions,
} from "./ref.ts";
export type { ActorStats, InboundLinkStats, LinkStats, TimeStats } from "./stats.ts";
export {
  type Restart,
  type RestartHooks,
  type RestartStrategy,
  Supervised,
  Supervisor,
  type SupervisorHost,
  type SupervisorOptions,
} from "./supervisor.ts";
export { ActorSystem, type SystemOptions } from "./system.ts";
export type { TraceSpan } from "./trace.ts";
export type { Stall, StallKind, WatchdogOptions } from "./watchdog.ts";
