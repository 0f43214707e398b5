/** How the actors of a run stand, now and then. */
import type { ActorStats, ActorSystem } from "../../actors/runtime/mod.ts";
import type { ActorRecord } from "../../ui/records.ts";

/** Between two records. */
const EVERY_MS = 2_000;

/** How long an actor may take to say how it stands, before its last word is taken. */
const PATIENCE_MS = 1_000;

/** Nothing measured. */
const NO_TIME = { busyMs: 0, waitingMs: 0, idleMs: 0 };

type Actor = ActorSystem["actors"] extends ReadonlyMap<string, infer One> ? One : never;

/** Asks actors now and then how they stand, and knows how each stood when it ended. */
export class ActorsWatch {
  readonly #actors: ActorSystem["actors"];
  readonly #write: (actors: ActorRecord[]) => void;
  /** Incarnations whose end is waited for. */
  readonly #followed = new Set<Actor>();
  readonly #before = new Map<string, ActorStats>();
  /** In the order in which they were spawned. */
  readonly #records = new Map<string, ActorRecord>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param actors those that live, now and later
   * @param write takes a record of all that there were; it does not throw
   */
  constructor(actors: ActorSystem["actors"], write: (actors: ActorRecord[]) => void) {
    this.#actors = actors;
    this.#write = write;
    this.#follow();
    this.#schedule();
  }

  /** The run has ended, and its actors with it: writes the last record. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#write([...this.#records.values()]);
  }

  #follow(): void {
    for (const [name, actor] of this.#actors) {
      if (this.#followed.has(actor)) continue;
      this.#followed.add(actor);
      if (!this.#records.has(name)) {
        const shares = { busy: 0, waiting: 0, busyOverall: 0, waitingOverall: 0 };
        this.#records.set(name, { name, ...shares, seconds: 0, mailbox: 0, handled: 0, links: [] });
      }
      actor.ended.then((stats) => stats && this.#take(name, stats));
    }
  }

  #schedule(): void {
    this.#timer = setTimeout(async () => {
      this.#follow();
      await Promise.all([...this.#actors].map(async ([name, actor]) => {
        const patience = Promise.withResolvers<undefined>();
        const timer = setTimeout(() => patience.resolve(undefined), PATIENCE_MS);
        // One that computes for long, or is being started again, has nothing new to say.
        const stats = await Promise.race([actor.stats(), patience.promise]).catch(() => undefined);
        clearTimeout(timer);
        if (stats !== undefined) this.#take(name, stats);
      }));
      if (this.#timer === undefined) return;
      this.#write([...this.#records.values()]);
      this.#schedule();
    }, EVERY_MS);
    Deno.unrefTimer(this.#timer);
  }

  #take(name: string, stats: ActorStats): void {
    const known = this.#before.get(name);
    const total = ({ busyMs, waitingMs, idleMs }: typeof NO_TIME) => busyMs + waitingMs + idleMs;
    // An actor that was started again counts from nothing.
    const before = known !== undefined && total(known) <= total(stats) ? known : NO_TIME;
    const share = (key: keyof typeof NO_TIME, since: typeof NO_TIME) =>
      (stats[key] - since[key]) / Math.max(total(stats) - total(since), 1);
    this.#records.set(name, {
      name,
      busy: share("busyMs", before),
      waiting: share("waitingMs", before),
      busyOverall: share("busyMs", NO_TIME),
      waitingOverall: share("waitingMs", NO_TIME),
      seconds: total(stats) / 1000,
      mailbox: stats.mailbox,
      handled: Object.values(stats.handled).reduce((sum, count) => sum + count, 0),
      links: stats.outgoing.filter(({ to }) => this.#records.has(to)).map(({ to, credits, queued }) => ({
        to,
        credits,
        queued,
      })),
    });
    this.#before.set(name, stats);
  }
}
