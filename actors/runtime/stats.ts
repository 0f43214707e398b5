/** How an actor spends its time, and what is in flight. */

/** A reference that an actor holds. */
export interface LinkStats {
  /** Name of the actor that it leads to. */
  to: string;
  /** Messages that could be sent right now. */
  credits: number;
  /** Messages that wait for a credit. */
  queued: number;
  /** Asks that have no reply yet. */
  pending: number;
}

/** A reference to an actor that another holds. */
export interface InboundLinkStats {
  /** Name of the holder. */
  from: string;
  /** Messages that arrived and whose credit has not been returned. */
  held: number;
}

/** How the actor spent the time since it was ready, in ms. The three add up to all of it. */
export interface TimeStats {
  /** In a handler, computing or waiting for something other than an actor (a file, the GPU), or in `ctx.work`. */
  busyMs: number;
  /** Not busy, but in a handler, waiting for another actor or program: for a credit, a reply, or in `ctx.wait` and `ctx.waitOutside`. */
  waitingMs: number;
  /** Neither busy nor waiting. */
  idleMs: number;
}

/** Snapshot of an actor. Times and counts only grow, so the difference of two snapshots describes an interval. */
export interface ActorStats extends TimeStats {
  /** The actor's name. */
  name: string;
  /** Time from the start of the Worker until ready, in ms. */
  startMs: number;
  /** Whether it waits for something outside the system, in `ctx.waitOutside`. */
  waitsOutside: boolean;
  /** Messages in the mailbox, without the one being handled. */
  mailbox: number;
  /** Messages handled so far, by name. */
  handled: Record<string, number>;
  /** The references that the actor holds. */
  outgoing: LinkStats[];
  /** The references to the actor that others hold. */
  incoming: InboundLinkStats[];
}

/** Measures {@linkcode TimeStats}. */
export class Meter {
  #handlers = 0;
  #waits = 0;
  #works = 0;
  #outside = 0;
  #since: number;
  #busy = 0;
  #waiting = 0;
  #idle = 0;
  readonly #now: () => number;

  /** @param now tells the time in ms; by default this thread's clock */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#since = now();
  }

  /** Forgets what was measured so far. */
  restart(): void {
    this.#turn();
    this.#busy = this.#waiting = this.#idle = 0;
  }

  /** A handler, or the actor's start, begins. */
  enter(): void {
    this.#turn();
    this.#handlers++;
  }

  /** A handler, or the actor's start, ends. */
  leave(): void {
    this.#turn();
    this.#handlers--;
  }

  /** Awaits a promise; a handler that runs meanwhile counts as waiting, not busy. */
  async wait<T>(promise: Promise<T>): Promise<T> {
    this.#turn();
    this.#waits++;
    try {
      return await promise;
    } finally {
      this.#turn();
      this.#waits--;
    }
  }

  /** {@linkcode wait} for something outside the system. */
  async waitOutside<T>(promise: Promise<T>): Promise<T> {
    this.#outside++;
    try {
      return await this.wait(promise);
    } finally {
      this.#outside--;
    }
  }

  /** Whether it waits for something outside the system. */
  get waitsOutside(): boolean {
    return this.#outside > 0;
  }

  /** Begins work and awaits it, also behind a handler; it counts as busy, whatever else the actor waits for. */
  async work<T>(begin: () => Promise<T>): Promise<T> {
    this.#turn();
    this.#works++;
    try {
      return await begin();
    } finally {
      this.#turn();
      this.#works--;
    }
  }

  /** The sums up to now. */
  read(): TimeStats {
    this.#turn();
    return { busyMs: this.#busy, waitingMs: this.#waiting, idleMs: this.#idle };
  }

  #turn(): void {
    const now = this.#now();
    const passed = now - this.#since;
    this.#since = now;
    if (this.#works > 0) this.#busy += passed;
    else if (this.#handlers === 0) this.#idle += passed;
    else if (this.#waits > 0) this.#waiting += passed;
    else this.#busy += passed;
  }
}
