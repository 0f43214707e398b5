/**
 * Everything that crosses a wall, as plain data that structured clone can carry. Two kinds of channel exist: a link,
 * one MessagePort pair between a reference and an actor's mailbox; and the control channel between the thread that
 * spawned an actor and the actor's Worker.
 */

import type { Crash, Failure } from "./failure.ts";
import type { ActorStats } from "./stats.ts";
import type { TraceSpan } from "./trace.ts";
import type { CLOSE, Packed } from "./transfer.ts";

/** A payload as it travels: references to actors are taken out of it and go beside it, as ports. */
export type Payload = Omit<Packed, "transfer">;

/** From a reference to the mailbox at the other end of its port. */
export type Request =
  /** The first on every link: who holds the reference. */
  | { kind: "hello"; from: string; incarnation: number }
  | { kind: "tell"; name: string; payload: Payload }
  | { kind: "ask"; id: number; name: string; payload: Payload }
  /** Opens another link to the same mailbox, for a reference that is handed to somebody else. */
  | { kind: "connect"; port: MessagePort }
  /** Answers `refuse`: nothing that needs a credit comes after this. */
  | { kind: "last" }
  | typeof CLOSE;

/** From a mailbox to the reference at the other end of its port. */
export type Response =
  /** The actor is ready: the first credits, and the names of the messages that need none. */
  | { kind: "welcome"; credits: number; urgent: string[] }
  | { kind: "credit" }
  /** `credit`: whether a credit comes back with it. */
  | { kind: "reply"; id: number; payload: Payload; credit: boolean }
  /** The actor is draining. */
  | { kind: "refuse" }
  /** The actor has stopped, or crashed. */
  | { kind: "down"; crash?: Crash };

/** From the system to an actor's Worker. */
export type Control =
  | {
    kind: "start";
    name: string;
    incarnation: number;
    url: string;
    config: Payload;
    credits: number;
    graceMs: number;
    imports: readonly string[];
    /** Whether the actor is to say what it did. */
    traces: boolean;
    port: MessagePort;
  }
  | { kind: "drain" }
  | { kind: "stop" }
  | { kind: "fail"; failure: Failure }
  /** Another actor has ended. */
  | { kind: "ended"; actor: string; incarnation: number }
  | { kind: "stats"; id: number };

/** From an actor's Worker to the system. */
export type Report =
  | { kind: "ready" }
  | { kind: "drained" }
  | { kind: "stats"; id: number; stats: ActorStats }
  | { kind: "spans"; spans: TraceSpan[] }
  | { kind: "crashed"; crash: Crash }
  /** The last: the Worker closes itself. `failure`: what an `onStop` hook threw. `stats`: how the actor stood when it was to stop. */
  | { kind: "stopped"; failure?: Failure; stats?: ActorStats };
