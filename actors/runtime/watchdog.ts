/** Notices when a system stands still, and says where. */

import type { ActorStats } from "./stats.ts";
import { LONGEST_TIMER_MS } from "./timer.ts";

/** Cause of a stall. */
export type StallKind =
  /** An actor does not even say how it is: it computes without ever awaiting, or its thread hangs. */
  | "silent"
  /** Messages are under way, nobody handles any, and everybody waits for somebody else here. */
  | "deadlock"
  /** Somebody has been busy with one message, or with its start, for very long. */
  | "slow";

/** A stall of the system. */
export interface Stall {
  /** Probable cause. */
  kind: StallKind;
  /** Names of the actors that cause it; in a deadlock, all that wait. */
  actors: readonly string[];
  /** Duration so far, in ms. */
  forMs: number;
  /** Message, with the lengths of the mailboxes. */
  text: string;
}

/** Options for a watchdog. */
export interface WatchdogOptions {
  /** Called once per stall, until there is progress again. */
  onStall(stall: Stall): void;
  /**
   * Time without progress after which it reports a stall, in ms. Default: 60,000. A busy handler, or a start, may take five
   * times as long.
   */
  patienceMs?: number;
}

/** What a watchdog looks at. */
export interface Watched {
  /** The actor's name. */
  readonly name: string;
  /** Whether it has started. */
  readonly isReady: boolean;
  /** How it is. */
  stats(): ActorStats | Promise<ActorStats>;
}

const SLOW_FACTOR = 5;

/** What is remembered of an actor. */
interface Memory {
  /** When it last answered, and what. */
  answeredAt: number;
  stats?: ActorStats;
  handled: number;
  /** When it last had handled something new, and when it was last busy; until now where it waits for what is outside. */
  movedAt: number;
  busyAt: number;
  isAsked: boolean;
}

/** Looks at all actors now and then. */
export class Watchdog {
  readonly #actors: () => Iterable<Watched>;
  readonly #options: WatchdogOptions;
  readonly #patienceMs: number;
  readonly #timer: ReturnType<typeof setInterval>;
  #memories = new Map<Watched, Memory>();
  #told?: string;

  /** Begins to look. */
  constructor(actors: () => Iterable<Watched>, options: WatchdogOptions) {
    this.#actors = actors;
    this.#options = options;
    this.#patienceMs = options.patienceMs ?? 60_000;
    this.#timer = setInterval(() => this.#check(), Math.min(this.#patienceMs / 6, LONGEST_TIMER_MS));
    Deno.unrefTimer(this.#timer as unknown as number);
  }

  /** Looks no more. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    const now = performance.now();
    const actors = [...this.#actors()];
    const known = this.#memories;
    this.#memories = new Map(actors.map((actor) => [
      actor,
      known.get(actor) ?? { answeredAt: now, handled: -1, movedAt: now, busyAt: now, isAsked: false },
    ]));
    for (const [actor, memory] of this.#memories) {
      if (memory.isAsked) continue;
      memory.isAsked = true;
      Promise.try(() => actor.stats()).then((stats) => this.#note(memory, stats), () => {}); // it has ended
    }
    const stall = this.#evaluate(now);
    const key = stall && `${stall.kind} ${stall.actors}`;
    if (stall !== undefined && key !== this.#told) this.#options.onStall(stall);
    this.#told = key;
  }

  #note(memory: Memory, stats: ActorStats): void {
    const now = performance.now();
    const handled = Object.values(stats.handled).reduce((sum, count) => sum + count, 0);
    if (handled !== memory.handled) memory.movedAt = now;
    if (memory.stats === undefined || stats.busyMs - memory.stats.busyMs > 1) memory.busyAt = now;
    if (stats.waitsOutside) memory.movedAt = memory.busyAt = now;
    Object.assign(memory, { answeredAt: now, stats, handled, isAsked: false });
  }

  #evaluate(now: number): Stall | undefined {
    const memories = [...this.#memories].map(([{ name, isReady }, memory]) => ({ name, isReady, ...memory }));
    const report = (kind: StallKind, actors: string[], since: number, what: string): Stall => {
      const forMs = now - since;
      return {
        kind,
        actors,
        forMs,
        text: `${what} for ${Math.round(forMs / 1000)} s; ${describe(memories)}`,
      };
    };
    const silent = memories.filter(({ answeredAt }) => now - answeredAt > this.#patienceMs);
    if (silent.length > 0) {
      const names = silent.map(({ name }) => name);
      const since = Math.min(...silent.map(({ answeredAt }) => answeredAt));
      return report("silent", names, since, `${names.join(", ")} has not answered`);
    }
    const isUnderWay = memories.some(({ isReady, stats }) =>
      stats !== undefined &&
      (!isReady || stats.mailbox > 0 || stats.incoming.some(({ held }) => held > 0) ||
        stats.outgoing.some(({ queued, pending }) => queued + pending > 0))
    );
    if (!isUnderWay) return undefined;
    const movedAt = Math.max(...memories.map((memory) => memory.movedAt));
    const busyAt = Math.max(...memories.map((memory) => memory.busyAt));
    if (now - movedAt <= this.#patienceMs) return undefined;
    if (now - busyAt > this.#patienceMs) {
      const waiting = memories.filter(({ stats }) => stats!.outgoing.some((l) => l.queued + l.pending > 0));
      return report(
        "deadlock",
        waiting.map(({ name }) => name),
        Math.max(movedAt, busyAt),
        "the actors have made no progress",
      );
    }
    if (now - movedAt <= SLOW_FACTOR * this.#patienceMs) return undefined;
    const busy = memories.filter((memory) => memory.busyAt === busyAt);
    const names = busy.map(({ name }) => name);
    const what = busy.some(({ isReady }) => isReady) ? "busy with one message" : "starting";
    return report("slow", names, movedAt, `${names.join(", ")} has been ${what}`);
  }
}

/** What each actor has before it, and whom it waits for. */
function describe(memories: readonly { name: string; isReady: boolean; stats?: ActorStats }[]): string {
  return memories.map(({ name, isReady, stats }) => {
    if (!isReady || stats === undefined) return `${name}: not started yet`;
    const waits = stats.outgoing.filter(({ queued, pending }) => queued + pending > 0).map(({ to }) => to);
    return `${name}: ${stats.mailbox} in its mailbox` +
      (waits.length === 0 ? "" : `, waits for ${waits.join(" and ")}`);
  }).join("; ");
}
