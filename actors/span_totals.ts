/** What the spans of an actor add up to, over a run of any length: their memory is bounded, however many there are. */
import type { TraceSpan } from "./runtime/mod.ts";

/** Stretches of time that are kept apart; of more, each two neighbours become one. */
const MOST_STRETCHES = 8192;

/** A stretch of time, in ms, and an amount that is spread over it. */
interface Stretch {
  start: number;
  end: number;
  amount: number;
}

/** Returns how long a stretch lies between two moments. */
function overlap({ start, end }: Stretch, from: number, to: number): number {
  return Math.max(0, Math.min(end, to) - Math.max(start, from));
}

/** Returns the amount of a stretch that lies between two moments. */
function shareOf(stretch: Stretch, from: number, to: number): number {
  const length = stretch.end - stretch.start;
  return length === 0 ? 0 : stretch.amount * overlap(stretch, from, to) / length;
}

/** Adds a stretch behind the others. */
function append(stretches: Stretch[], stretch: Stretch): void {
  stretches.push(stretch);
  if (stretches.length <= MOST_STRETCHES) return;
  const count = Math.ceil(stretches.length / 2);
  for (let i = 0; i < count; i++) {
    const [a, b] = [stretches[2 * i], stretches[2 * i + 1] ?? stretches[2 * i]];
    stretches[i] = a === b ? a : {
      start: Math.min(a.start, b.start),
      end: Math.max(a.end, b.end),
      amount: a.amount + b.amount,
    };
  }
  stretches.length = count;
}

/** How much of the time some spans cover; what several cover counts once. */
class Coverage {
  /** One behind the other. */
  readonly #stretches: Stretch[] = [];

  /** Adds a span. They come in the order in which they end: one reaches back over those that ended within it. */
  add(start: number, end: number): void {
    for (let last; (last = this.#stretches.at(-1)) !== undefined && last.end > start;) {
      this.#stretches.pop();
      if (last.start >= start) continue;
      const amount = shareOf(last, last.start, start);
      this.#stretches.push({ start: last.start, end: start, amount });
    }
    append(this.#stretches, { start, end, amount: end - start });
  }

  /** Returns how much is covered between two moments, in ms. */
  between(from: number, to: number): number {
    return this.#stretches.reduce((sum, stretch) => sum + shareOf(stretch, from, to), 0);
  }
}

/**
 * The totals of one actor's spans. Between two moments they are exact as long as there are few thousand spans; of more, a moment
 * that lies within several spans which are kept as one takes its share of them.
 */
export class SpanTotals {
  #first = Infinity;
  #count = 0;
  /** When the last message of each name ended. */
  readonly #ends = new Map<string, number>();
  readonly #messages: Stretch[] = [];
  readonly #active = new Coverage();
  readonly #waiting = new Coverage();
  readonly #working = new Coverage();

  /** Where the first span begins, in ms since 1970; Infinity if there are none. */
  get first(): number {
    return this.#first;
  }

  /** Number of spans. */
  get count(): number {
    return this.#count;
  }

  /** Adds spans. None of them ended before those that were added earlier. */
  add(spans: readonly TraceSpan[]): void {
    const endOf = ({ startMs, durationMs }: TraceSpan) => startMs + durationMs;
    for (const span of spans.toSorted((a, b) => endOf(a) - endOf(b))) {
      const { kind, name, startMs: start } = span;
      const end = endOf(span);
      this.#count++;
      this.#first = Math.min(this.#first, start);
      if (kind === "message") {
        this.#ends.set(name, Math.max(end, this.#ends.get(name) ?? -Infinity));
        append(this.#messages, { start, end, amount: 1 });
      }
      // Who waits while work goes on is at work.
      if (kind !== "wait") this.#active.add(start, end);
      if (kind !== "message") this.#waiting.add(start, end);
      if (kind === "work") this.#working.add(start, end);
    }
  }

  /** When the last message of a name ended, in ms since 1970; `undefined` if there was none. */
  lastEnd(message: string): number | undefined {
    return this.#ends.get(message);
  }

  /** Returns what was done between two moments, in ms since 1970; see {@linkcode ActorShare}. */
  between(from: number, to: number): { messages: number; busyMs: number; waitingMs: number } {
    const messages = this.#messages.reduce((sum, stretch) => {
      if (overlap(stretch, from, to) === 0) return sum;
      return sum + (stretch.amount === 1 ? 1 : shareOf(stretch, from, to)); // a message that is cut counts
    }, 0);
    const waitingMs = Math.max(0, this.#waiting.between(from, to) - this.#working.between(from, to));
    return {
      messages: Math.round(messages),
      busyMs: Math.max(0, this.#active.between(from, to) - waitingMs),
      waitingMs,
    };
  }
}
