/** How the actors of a run stand, now and then. */
import type { ActorStats, ActorSystem } from "../../actors/runtime/mod.ts";
import type { ActorRecord } from "../../ui/records.ts";

/** Between two records. */
const EVERY_MS = 2_000;

/** How long an actor may take to say how it stands, before its last word is taken. */
const PATIENCE_MS = 1_000;

/** Asks actors now and then how they stand. */
export class ActorsWatch {
  readonly #actors: ActorSystem["actors"];
  readonly #write: (actors: ActorRecord[]) => void;
  readonly #before = new Map<string, ActorStats>();
  readonly #records = new Map<string, ActorRecord>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #hasStopped = false;

  /** @param write takes a record of all of them; it does not throw */
  constructor(actors: ActorSystem["actors"], write: (actors: ActorRecord[]) => void) {
    this.#actors = actors;
    this.#write = write;
    this.#schedule();
  }

  /** No more records. */
  stop(): void {
    this.#hasStopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    this.#timer = setTimeout(async () => {
      await Promise.all([...this.#actors].map(async ([name, actor]) => {
        const patience = Promise.withResolvers<undefined>();
        const timer = setTimeout(() => patience.resolve(undefined), PATIENCE_MS);
        // One that computes for long, or is being started again, has nothing new to say.
        const stats = await Promise.race([actor.stats(), patience.promise]).catch(() => undefined);
        clearTimeout(timer);
        if (stats !== undefined) this.#take(name, stats);
      }));
      if (this.#hasStopped) return;
      this.#write([...this.#actors.keys()].flatMap((name) => this.#records.get(name) ?? []));
      this.#schedule();
    }, EVERY_MS);
    Deno.unrefTimer(this.#timer);
  }

  #take(name: string, stats: ActorStats): void {
    const nothing = { busyMs: 0, waitingMs: 0, idleMs: 0 };
    const known = this.#before.get(name);
    const total = ({ busyMs, waitingMs, idleMs }: typeof nothing) => busyMs + waitingMs + idleMs;
    // An actor that was started again counts from nothing.
    const before = known !== undefined && total(known) <= total(stats) ? known : nothing;
    const share = (key: keyof typeof nothing, since: typeof nothing) =>
      (stats[key] - since[key]) / Math.max(total(stats) - total(since), 1);
    this.#records.set(name, {
      name,
      busy: share("busyMs", before),
      waiting: share("waitingMs", before),
      busyOverall: share("busyMs", nothing),
      waitingOverall: share("waitingMs", nothing),
      mailbox: stats.mailbox,
      handled: Object.values(stats.handled).reduce((sum, count) => sum + count, 0),
      links: stats.outgoing.filter(({ to }) => this.#actors.has(to)).map(({ to, credits, queued }) => ({
        to,
        credits,
        queued,
      })),
    });
    this.#before.set(name, stats);
  }
}
