/** What actors did when, for an image of all of them side by side. */

/** An interval in which an actor did something or waited. */
export interface TraceSpan {
  /**
   * `message`: handling a message; `wait`: waiting for another actor meanwhile; `work`: work that continues after a
   * handler, such as on a device.
   */
  kind: "message" | "wait" | "work";
  /** Name of the message, of what was waited for, or of the work. */
  name: string;
  /** Sender of the message. */
  from?: string;
  /** Start, in milliseconds since 1970, with fractions. */
  startMs: number;
  /** Duration, in ms. */
  durationMs: number;
}

/** Spans are sent on when there are so many; the rest when the actor ends. */
const BATCH = 256;

/** Collects the spans of one actor. */
export class Tracer {
  readonly #send: (spans: TraceSpan[]) => void;
  #spans: TraceSpan[] = [];

  /** @param send is given some spans at a time */
  constructor(send: (spans: TraceSpan[]) => void) {
    this.#send = send;
  }

  /** Something has just ended that began at `start`, as `performance.now()` says it. */
  record(kind: TraceSpan["kind"], name: string, start: number, from?: string): void {
    const durationMs = performance.now() - start;
    this.#spans.push({ kind, name, from, startMs: performance.timeOrigin + start, durationMs });
    if (this.#spans.length >= BATCH) this.flush();
  }

  /** Sends what is there. */
  flush(): void {
    if (this.#spans.length === 0) return;
    this.#send(this.#spans);
    this.#spans = [];
  }
}
