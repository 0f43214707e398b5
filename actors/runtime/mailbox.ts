/** The receiver's side of all links to one actor: order, credits, replies, draining. */

import type { Handler, Handlers, MessageContext, UrgentHandler } from "./actor.ts";
import type { Crash } from "./failure.ts";
import { ActorRef, type Endpoint, Link } from "./ref.ts";
import type { InboundLinkStats } from "./stats.ts";
import { pack, postPacked, release, unpack } from "./transfer.ts";
import type { Payload, Request, Response } from "./wire.ts";

/** Default number of messages that each holder of a reference may have in flight. */
export const DEFAULT_CREDITS = 2;

/** The receiver's end of one link. */
interface InboundLink {
  readonly port: MessagePort;
  from: string;
  /** Of the sender, once it has said so. */
  incarnation?: number;
  /** Messages whose credit was not given back yet. */
  held: number;
  /** Whether the sender has said that nothing more is on its way. */
  sentLast: boolean;
}

/** A message as it arrived. */
interface Envelope {
  readonly link: InboundLink;
  readonly name: string;
  readonly payload: Payload;
  /** Of an ask. */
  readonly id?: number;
}

// deno-lint-ignore no-explicit-any -- typed where it was defined, and untyped on the wire
type AnyHandler = Handler<any, unknown, unknown>;

interface Entry {
  readonly handle: AnyHandler;
  readonly isUrgent: boolean;
}

/** What a mailbox needs to know of its actor. */
export interface MailboxOwner {
  readonly endpoint: Endpoint;
  /** The part of a handler's context that is not the mailbox's business. */
  // deno-lint-ignore no-explicit-any -- of whatever protocol
  readonly context: Omit<MessageContext<any>, "from" | "defer">;
  /** Called with what a handler threw. */
  fail(error: unknown): void;
}

/** Receives messages and calls the handlers. */
export class Mailbox {
  readonly #owner: MailboxOwner;
  readonly #credits: number;
  readonly #inbound = new Set<InboundLink>();
  readonly #envelopes: Envelope[] = [];
  readonly #handled = new Map<string, number>();
  readonly #quiet = new Set<() => void>();
  #handlers?: Map<string, Entry>;
  /** Whether a handler that is not urgent is at work. */
  #isWorking = false;
  #urgentRunning = 0;
  #isDraining = false;
  #closed?: Response & { kind: "down" };

  /** @param credits how many messages each holder of a reference may have in flight */
  constructor(owner: MailboxOwner, credits: number) {
    this.#owner = owner;
    this.#credits = credits;
  }

  /** Lets the holder of the other end of a port send messages; before {@linkcode open} it has no credit to do so. */
  connect(port: MessagePort): void {
    const link: InboundLink = { port, from: "", held: 0, sentLast: false };
    if (this.#closed !== undefined) {
      post(link, this.#closed);
      port.close();
      return;
    }
    this.#inbound.add(link);
    port.onmessage = (event: MessageEvent<Request>) => this.#receive(link, event.data);
    port.onmessageerror = () => {
      this.#owner.fail(new Error(`a message from "${link.from}" could not be deserialized`));
    };
    if (this.#handlers !== undefined) this.#welcome(link);
  }

  /** The actor is ready: gives every sender its first credits. */
  // deno-lint-ignore no-explicit-any -- of whatever protocol
  open(handlers: Handlers<any>): void {
    // deno-lint-ignore no-explicit-any -- of whatever protocol
    const entries = Object.entries<AnyHandler | UrgentHandler<any, unknown, unknown>>(handlers);
    this.#handlers = new Map(entries.map(([name, handler]) => {
      const isUrgent = typeof handler !== "function";
      return [name, { handle: isUrgent ? handler.urgent : handler, isUrgent }];
    }));
    for (const link of this.#inbound) this.#welcome(link);
  }

  /** Refuses what was not sent yet; resolves when everything that was sent is handled. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    for (const link of this.#inbound) post(link, { kind: "refuse" });
    await this.#until(() =>
      !this.#isWorking && this.#envelopes.length === 0 &&
      this.#inbound.values().every((link) => link.sentLast)
    );
  }

  /** Drops what was not handled, with the references in it, and tells every sender why. */
  close(crash?: Crash): void {
    // An ActorCrash is a Crash too, but would lose its fields on the way.
    const plain = crash && { actor: crash.actor, failure: crash.failure, isEarly: crash.isEarly };
    this.#closed = { kind: "down", crash: plain };
    for (const { payload } of this.#envelopes.splice(0)) release(payload.shared);
    for (const link of this.#inbound) {
      post(link, this.#closed);
      link.port.close();
    }
    this.#inbound.clear();
  }

  /** A sender is over, and may not have said so: nobody waits for what it would still send. */
  loseSender(incarnation: number): void {
    for (const link of this.#inbound) if (link.incarnation === incarnation) this.#drop(link);
    this.#notify();
  }

  #drop(link: InboundLink): void {
    this.#inbound.delete(link);
    link.port.close();
  }

  /** Resolves when no handler runs. */
  settled(): Promise<void> {
    return this.#until(() => !this.#isWorking && this.#urgentRunning === 0);
  }

  /** Whether a handler has ended without an error. */
  get hasHandled(): boolean {
    return this.#handled.size > 0;
  }

  stats(): { mailbox: number; handled: Record<string, number>; incoming: InboundLinkStats[] } {
    return {
      mailbox: this.#envelopes.length,
      handled: Object.fromEntries(this.#handled),
      incoming: [...this.#inbound].map(({ from, held }) => ({ from, held })),
    };
  }

  #receive(link: InboundLink, request: Request): void {
    if (this.#closed !== undefined) { // this was on its way
      if (request.kind === "connect") this.connect(request.port);
      else if ("payload" in request) release(request.payload.shared);
      return;
    }
    switch (request.kind) {
      case "hello":
        link.from = request.from;
        link.incarnation = request.incarnation;
        if (this.#owner.endpoint.ended.has(request.incarnation)) this.#drop(link);
        break;
      case "connect":
        this.connect(request.port);
        break;
      case "last":
        link.sentLast = true;
        break;
      case "close":
        this.#drop(link);
        break;
      case "tell":
      case "ask":
        this.#accept({ link, ...request });
    }
    this.#notify();
  }

  #accept(envelope: Envelope): void {
    const entry = this.#handlers?.get(envelope.name);
    if (entry === undefined) {
      const known = [...this.#handlers?.keys() ?? []].join(", ");
      this.#owner.fail(
        new Error(
          `no handler for message "${envelope.name}" from "${envelope.link.from}"; known are: ${known}`,
        ),
      );
    } else if (entry.isUrgent) {
      this.#urgentRunning++;
      this.#handle(envelope, entry).finally(() => {
        this.#urgentRunning--;
        this.#notify();
      });
    } else {
      envelope.link.held++;
      this.#envelopes.push(envelope);
      if (!this.#isWorking) this.#work();
    }
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    for (let envelope = this.#envelopes.shift(); envelope !== undefined; envelope = this.#envelopes.shift()) {
      await this.#handle(envelope, this.#handlers!.get(envelope.name)!);
    }
    this.#isWorking = false;
    this.#notify();
  }

  /** Calls a handler and sends what comes of it; never rejects. */
  async #handle(envelope: Envelope, { handle, isUrgent }: Entry): Promise<void> {
    const { link, name, id } = envelope;
    const { endpoint, context } = this.#owner;
    let owesCredit = !isUrgent;
    const pay = () => {
      if (owesCredit) link.held--;
      const paid = owesCredit;
      owesCredit = false;
      return paid;
    };
    let isDeferred = false;
    const defer = () => {
      isDeferred = true;
      return () => {
        if (pay()) this.#post(link, { kind: "credit" });
      };
    };
    endpoint.meter.enter();
    const start = performance.now();
    try {
      const payload = unpack(envelope.payload, (shared) => new ActorRef(new Link(shared, endpoint)));
      const reply = await handle(payload, Object.assign(Object.create(context), { from: link.from, defer }));
      this.#handled.set(name, (this.#handled.get(name) ?? 0) + 1);
      const credit = !isDeferred && pay();
      // A reply to a sender that let go is not packed: nobody would get its references.
      if (id !== undefined && this.#inbound.has(link)) {
        const what = `reply of "${name}" to "${link.from}"`;
        postPacked(what, pack(what, reply), (payload, transfer) => {
          this.#post(link, { kind: "reply", id, payload, credit }, transfer);
        });
      } else if (credit) {
        this.#post(link, { kind: "credit" });
      }
    } catch (error) {
      this.#owner.fail(error);
    } finally {
      endpoint.meter.leave();
      endpoint.tracer?.record("message", name, start, link.from);
    }
  }

  #welcome(link: InboundLink): void {
    const urgent = [...this.#handlers!].filter(([, { isUrgent }]) => isUrgent).map(([name]) => name);
    post(link, { kind: "welcome", credits: this.#credits, urgent });
    if (this.#isDraining) post(link, { kind: "refuse" });
  }

  /** Says nothing to a sender that let go, or was told already that the actor is down. */
  #post(link: InboundLink, response: Response, transfer?: Transferable[]): void {
    if (this.#inbound.has(link)) post(link, response, transfer);
  }

  async #until(condition: () => boolean): Promise<void> {
    if (condition()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const check = () => {
      if (condition()) resolve();
    };
    this.#quiet.add(check);
    await promise;
    this.#quiet.delete(check);
  }

  #notify(): void {
    for (const check of this.#quiet) check();
  }
}

function post(link: InboundLink, response: Response, transfer: Transferable[] = []): void {
  link.port.postMessage(response, transfer);
}
