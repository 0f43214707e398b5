/** The receiver's side of all links to one actor: order, credits, replies, draining. */

import type { Handler, Handlers, MessageContext, UrgentHandler } from "./actor.ts";
import type { Crash } from "./failure.ts";
import { ActorRef, type Endpoint, Link } from "./ref.ts";
import type { DoorStats } from "./stats.ts";
import { pack, unpack } from "./transfer.ts";
import type { Parcel, Request, Response } from "./wire.ts";

/** Messages that each holder of a reference may have in flight unless the spawner says otherwise. */
export const DEFAULT_CREDITS = 2;

/** The receiver's end of one link. */
interface Door {
  readonly port: MessagePort;
  from: string;
  /** Messages whose credit was not given back yet. */
  held: number;
  /** Whether the sender has said that nothing more is on its way. */
  sentLast: boolean;
}

/** A message as it arrived. */
interface Letter {
  readonly door: Door;
  readonly name: string;
  readonly parcel: Parcel;
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
  readonly #doors = new Set<Door>();
  readonly #letters: Letter[] = [];
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
    const door: Door = { port, from: "", held: 0, sentLast: false };
    if (this.#closed !== undefined) {
      post(door, this.#closed);
      return;
    }
    this.#doors.add(door);
    port.onmessage = (event: MessageEvent<Request>) => this.#receive(door, event.data);
    port.onmessageerror = () => {
      this.#owner.fail(new Error(`a message from "${door.from}" arrived broken`));
    };
    if (this.#handlers !== undefined) this.#welcome(door);
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
    for (const door of this.#doors) this.#welcome(door);
  }

  /** Refuses what was not sent yet; resolves when everything that was sent is handled. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    for (const door of this.#doors) post(door, { kind: "refuse" });
    await this.#until(() =>
      !this.#isWorking && this.#letters.length === 0 && this.#doors.values().every((door) => door.sentLast)
    );
  }

  /** Drops what was not handled, and tells every sender why. */
  close(crash?: Crash): void {
    // An ActorCrash is a Crash too, but would lose its fields on the way.
    this.#closed = { kind: "down", crash: crash && { actor: crash.actor, failure: crash.failure } };
    this.#letters.length = 0;
    for (const door of this.#doors) {
      post(door, this.#closed);
      door.port.close();
    }
    this.#doors.clear();
  }

  /** Resolves when no handler runs. */
  settled(): Promise<void> {
    return this.#until(() => !this.#isWorking && this.#urgentRunning === 0);
  }

  stats(): { mailbox: number; handled: Record<string, number>; incoming: DoorStats[] } {
    return {
      mailbox: this.#letters.length,
      handled: Object.fromEntries(this.#handled),
      incoming: [...this.#doors].map(({ from, held }) => ({ from, held })),
    };
  }

  #receive(door: Door, request: Request): void {
    if (this.#closed !== undefined) return;
    switch (request.kind) {
      case "hello":
        door.from = request.from;
        break;
      case "connect":
        this.connect(request.port);
        break;
      case "last":
        door.sentLast = true;
        break;
      case "close":
        this.#doors.delete(door);
        door.port.close();
        break;
      case "tell":
      case "ask":
        this.#accept({ door, ...request });
    }
    this.#notify();
  }

  #accept(letter: Letter): void {
    const entry = this.#handlers?.get(letter.name);
    if (entry === undefined) {
      const known = [...this.#handlers?.keys() ?? []].join(", ");
      this.#owner.fail(
        new Error(`there is no handler for "${letter.name}" from "${letter.door.from}", only for: ${known}`),
      );
    } else if (entry.isUrgent) {
      this.#urgentRunning++;
      this.#handle(letter, entry).finally(() => {
        this.#urgentRunning--;
        this.#notify();
      });
    } else {
      letter.door.held++;
      this.#letters.push(letter);
      if (!this.#isWorking) this.#work();
    }
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    for (let letter = this.#letters.shift(); letter !== undefined; letter = this.#letters.shift()) {
      await this.#handle(letter, this.#handlers!.get(letter.name)!);
    }
    this.#isWorking = false;
    this.#notify();
  }

  /** Calls a handler and sends what comes of it; never rejects. */
  async #handle(letter: Letter, { handle, isUrgent }: Entry): Promise<void> {
    const { door, name, id } = letter;
    const { endpoint, context } = this.#owner;
    let owesCredit = !isUrgent;
    const pay = () => {
      if (owesCredit) door.held--;
      const paid = owesCredit;
      owesCredit = false;
      return paid;
    };
    let isDeferred = false;
    const defer = () => {
      isDeferred = true;
      return () => {
        if (pay()) this.#post(door, { kind: "credit" });
      };
    };
    endpoint.meter.enter();
    const start = performance.now();
    try {
      const payload = unpack(letter.parcel, (shared) => new ActorRef(new Link(shared, endpoint)));
      const reply = await handle(payload, Object.assign(Object.create(context), { from: door.from, defer }));
      this.#handled.set(name, (this.#handled.get(name) ?? 0) + 1);
      const credit = !isDeferred && pay();
      if (id !== undefined) {
        const { transfer, ...parcel } = pack(`reply of "${name}" to "${door.from}"`, reply);
        this.#post(door, { kind: "reply", id, parcel, credit }, transfer);
      } else if (credit) {
        this.#post(door, { kind: "credit" });
      }
    } catch (error) {
      this.#owner.fail(error);
    } finally {
      endpoint.meter.leave();
      endpoint.tracer?.record("message", name, start, door.from);
    }
  }

  #welcome(door: Door): void {
    const urgent = [...this.#handlers!].filter(([, { isUrgent }]) => isUrgent).map(([name]) => name);
    post(door, { kind: "welcome", credits: this.#credits, urgent });
    if (this.#isDraining) post(door, { kind: "refuse" });
  }

  /** Says nothing to a sender that let go, or was told already that the actor is down. */
  #post(door: Door, response: Response, transfer?: Transferable[]): void {
    if (this.#doors.has(door)) post(door, response, transfer);
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

function post(door: Door, response: Response, transfer: Transferable[] = []): void {
  door.port.postMessage(response, transfer);
}
