/** The sender's side of a link: typed references, credits, replies. */

import { ActorCrash, ActorStopped, AskTimeout, type Crash } from "./failure.ts";
import type { Message, MessageName, Protocol } from "./protocol.ts";
import type { LinkStats, Meter } from "./stats.ts";
import { setTimer } from "./timer.ts";
import type { Tracer } from "./trace.ts";
import { CLOSE, pack, postPacked, SHARE, type Shared, unpack } from "./transfer.ts";
import type { Payload, Request, Response } from "./wire.ts";

/** Default timeout of an `ask`, in ms. */
export const DEFAULT_ASK_TIMEOUT_MS = 30_000;

/** Options for {@linkcode ActorRef.tell}. */
export interface TellOptions {
  /** What to transfer instead of every buffer in the payload; the others are copied. `[]` copies all. Ports are always transferred. */
  transfer?: Transferable[];
}

/** Options for {@linkcode ActorRef.ask}. */
export interface AskOptions extends TellOptions {
  /**
   * Time from the call to the reply, in ms, including the wait for a credit. `Infinity` waits forever. Default:
   * 30,000.
   */
  timeoutMs?: number;
}

/** A payload and options; a message without payload can be sent by its name alone. */
export type SendArguments<M extends Message<unknown, unknown>, Options> = [M["payload"]] extends [void]
  ? [payload?: undefined, options?: Options]
  : [payload: M["payload"], options?: Options];

/**
 * A reference to an actor. It can be sent to other actors in a configuration, a message or a reply; each gets its own
 * direct link. A link lasts until one of its ends stops. So send a reference once, when the actors are connected, not
 * with every message.
 */
export class ActorRef<P extends Protocol<P>> {
  readonly #link: Link;
  /** Makes structured clone fail for a reference that `pack` did not find, which it would turn into an empty object. */
  protected readonly uncloneable = (): void => {};

  /** Made by the runtime: by `spawn`, `listen` or `ctx.self`, or from a message. */
  constructor(link: Link) {
    this.#link = link;
  }

  /** Name of the actor. */
  get name(): string {
    return this.#link.actor;
  }

  /**
   * Sends a message that needs no reply. Resolves when the message has been sent, which may take until the actor has
   * handled earlier ones; await it before making the next. Transfers every ArrayBuffer and MessagePort in the
   * payload, and the whole buffer of a view, so the sender can no longer use them. (Small Node `Buffer`s share one
   * buffer: copy those.) If the promise rejects with {@linkcode ActorStopped} or {@linkcode ActorCrash}, nothing was
   * sent.
   *
   * @throws {ActorCrash} the actor crashed
   * @throws {ActorStopped} if the actor was stopped or is draining, or the sender must stop
   */
  tell<K extends MessageName<P>>(name: K, ...args: SendArguments<P[K], TellOptions>): Promise<void> {
    const [payload, options] = args;
    return this.#link.tell(name, payload, options?.transfer);
  }

  /**
   * Sends a message and waits for the reply. Transfers buffers as {@linkcode tell} does, in both directions.
   *
   * @throws {AskTimeout} if no reply comes in time
   * @throws {ActorCrash} the actor crashed
   * @throws {ActorStopped} if the actor was stopped or is draining, or the asker must stop
   */
  ask<K extends MessageName<P>>(name: K, ...args: SendArguments<P[K], AskOptions>): Promise<P[K]["reply"]> {
    const [payload, options] = args;
    return this.#link.ask(name, payload, options?.timeoutMs ?? DEFAULT_ASK_TIMEOUT_MS, options?.transfer);
  }

  /** Releases the reference: pending sends and asks reject, and it can no longer be used. */
  close(): void {
    this.#link.close(new ActorStopped(this.name, "was released and gets"));
  }

  /**
   * Opens another link for somebody else.
   *
   * @ignore
   */
  [SHARE](): Shared {
    return this.#link.share();
  }
}

/** What the links of one thread's actor have in common. */
export interface Endpoint {
  readonly name: string;
  /** Number of this incarnation of the actor: one that is started again has another. */
  readonly incarnation: number;
  readonly meter: Meter;
  /** Where all is to be traced. */
  readonly tracer?: Tracer;
  readonly links: Set<Link>;
  /**
   * Incarnations that are known to be over: who it was, or the crash. For good, as a reference to one may come late; so no error is
   * kept, which holds on to its stack.
   */
  readonly ended: Map<number, string | Crash>;
}

/** What links to an incarnation that is over reject with. */
export type EndReason = ActorCrash | ActorStopped;

/** An incarnation is over: its links are lost, those too that are on their way here. */
export function loseIncarnation({ links, ended }: Endpoint, incarnation: number, reason: EndReason): void {
  const { actor } = reason;
  ended.set(incarnation, reason instanceof ActorCrash ? { actor, failure: reason.failure } : actor);
  for (const link of links) if (link.incarnation === incarnation) link.lose(reason);
}

/**
 * Awaits what another actor will bring about; the time counts as waiting.
 *
 * @param isOutside where it is none of the system's
 */
export async function waitAt<T>(
  { meter, tracer }: Endpoint,
  what: string,
  promise: Promise<T>,
  isOutside = false,
): Promise<T> {
  const start = performance.now();
  try {
    return await (isOutside ? meter.waitOutside(promise) : meter.wait(promise));
  } finally {
    tracer?.record("wait", what, start);
  }
}

/** A message that waits for a credit, or for its actor to be ready. */
interface Outgoing {
  name: string;
  send(): void;
  reject(error: Error): void;
}

interface Pending {
  resolve(reply: unknown): void;
  reject(error: Error): void;
}

/** The sender's end of one MessagePort pair. */
export class Link {
  readonly actor: string;
  /** Of the actor. */
  readonly incarnation: number;
  readonly #port: MessagePort;
  readonly #endpoint: Endpoint;
  #credits = 0;
  /** `undefined` until the actor is ready. */
  #urgent?: Set<string>;
  #queue: Outgoing[] = [];
  #pending = new Map<number, Pending>();
  #nextId = 0;
  /** Why nothing but urgent messages can be sent any more. */
  #refused?: Error;
  /** Why nothing at all can be sent any more. */
  #gone?: Error;

  constructor({ actor, incarnation, port }: Shared, endpoint: Endpoint) {
    this.actor = actor;
    this.incarnation = incarnation;
    this.#port = port;
    this.#endpoint = endpoint;
    endpoint.links.add(this);
    port.onmessage = (event: MessageEvent<Response>) => this.#receive(event.data);
    this.#post({ kind: "hello", from: endpoint.name, incarnation: endpoint.incarnation });
    const end = endpoint.ended.get(incarnation);
    if (end !== undefined) this.lose(typeof end === "string" ? new ActorStopped(end) : new ActorCrash(end));
  }

  tell(name: string, payload: unknown, transfer?: Transferable[]): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const send = () => {
      const what = this.#describe(name);
      postPacked(what, pack(what, payload, transfer), (payload, moved) => {
        this.#post({ kind: "tell", name, payload }, moved);
      });
      resolve();
    };
    const waits = this.#submit({ name, send, reject });
    return waits ? waitAt(this.#endpoint, `credit of ${this.actor}`, promise) : promise;
  }

  ask(name: string, payload: unknown, timeoutMs: number, transfer?: Transferable[]): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const id = this.#nextId++;
    const outgoing: Outgoing = {
      name,
      send: () => {
        const what = this.#describe(name);
        postPacked(what, pack(what, payload, transfer), (payload, moved) => {
          this.#post({ kind: "ask", id, name, payload }, moved);
        });
        this.#pending.set(id, { resolve, reject });
      },
      reject,
    };
    const timer = setTimer(() => {
      this.#pending.delete(id);
      this.#queue = this.#queue.filter((waiting) => waiting !== outgoing);
      reject(new AskTimeout(this.actor, name, timeoutMs));
    }, timeoutMs);
    this.#submit(outgoing);
    return waitAt(this.#endpoint, `${name} of ${this.actor}`, promise).finally(() => clearTimeout(timer));
  }

  /** Opens another link to the same actor, and returns its port. */
  share(): Shared {
    if (this.#gone !== undefined) throw this.#gone;
    const { port1, port2 } = new MessageChannel();
    this.#post({ kind: "connect", port: port2 }, [port2]);
    return { actor: this.actor, incarnation: this.incarnation, port: port1 };
  }

  /** Ends the link from this side. */
  close(reason: Error): void {
    if (this.#gone === undefined) this.#post(CLOSE);
    this.lose(reason);
  }

  /** The other side is gone. */
  lose(reason: Error): void {
    if (this.#gone !== undefined) return;
    this.#gone = reason;
    this.#endpoint.links.delete(this);
    this.#port.close();
    const waiting = [...this.#queue, ...this.#pending.values()];
    this.#queue = [];
    this.#pending.clear();
    for (const { reject } of waiting) reject(reason);
  }

  stats(): LinkStats {
    return {
      to: this.actor,
      credits: this.#credits,
      queued: this.#queue.length,
      pending: this.#pending.size,
    };
  }

  #receive(response: Response): void {
    switch (response.kind) {
      case "welcome":
        this.#credits += response.credits;
        this.#urgent = new Set(response.urgent);
        for (const outgoing of this.#takeUrgent()) this.#send(outgoing);
        this.#flush();
        break;
      case "credit":
        this.#credits++;
        this.#flush();
        break;
      case "reply":
        this.#settle(response.id, response.payload);
        if (response.credit) {
          this.#credits++;
          this.#flush();
        }
        break;
      case "refuse": {
        const refused = new ActorStopped(this.actor, "is draining and accepts");
        this.#refused = refused;
        const waiting = this.#queue;
        this.#queue = [];
        for (const { reject } of waiting) reject(refused);
        this.#post({ kind: "last" });
        break;
      }
      case "down":
        this.lose(
          response.crash === undefined ? new ActorStopped(this.actor) : new ActorCrash(response.crash),
        );
    }
  }

  #settle(id: number, payload: Payload): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (pending !== undefined) {
      pending.resolve(unpack(payload, (shared) => new ActorRef(new Link(shared, this.#endpoint))));
    } else { // the ask timed out: nobody will use the references that the late reply brought
      for (const shared of payload.shared) {
        new Link(shared, this.#endpoint).close(new ActorStopped(shared.actor));
      }
    }
  }

  /** Sends, lets wait or rejects a message; returns whether it waits. */
  #submit(outgoing: Outgoing): boolean {
    const urgent = this.#isUrgent(outgoing.name);
    const closed = this.#gone ?? (urgent ? undefined : this.#refused);
    if (closed !== undefined) {
      outgoing.reject(closed);
    } else if (urgent || (this.#credits > 0 && this.#queue.length === 0)) {
      this.#send(outgoing);
    } else {
      this.#queue.push(outgoing);
      return true;
    }
    return false;
  }

  /** Sends what waits, as far as the credits go. */
  #flush(): void {
    while (this.#credits > 0 && this.#queue.length > 0) this.#send(this.#queue.shift()!);
  }

  #send({ name, send, reject }: Outgoing): void {
    const cost = this.#isUrgent(name) ? 0 : 1;
    try {
      send();
      this.#credits -= cost;
    } catch (error) {
      reject(error as Error);
    }
  }

  #takeUrgent(): Outgoing[] {
    const queue = this.#queue;
    this.#queue = queue.filter(({ name }) => !this.#isUrgent(name));
    return queue.filter(({ name }) => this.#isUrgent(name));
  }

  #isUrgent(name: string): boolean {
    return this.#urgent?.has(name) ?? false;
  }

  #describe(name: string): string {
    return `message "${name}" to actor "${this.actor}"`;
  }

  #post(request: Request, transfer: Transferable[] = []): void {
    this.#port.postMessage(request, transfer);
  }
}
