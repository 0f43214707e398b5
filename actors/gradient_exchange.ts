/**
 * Exchanges gradients and keys with the other processes of a run by MPI, whose calls are all made here: they must not hold up
 * those who compute.
 *
 * A call of MPI that waits keeps a core busy. So each exchange begins with {@linkcode GradientExchange.agree}, which asks from
 * time to time whether all have come; what follows it waits for nobody. Meanwhile every rank tells the first one that it lives,
 * and the first one all others, so that a process that hangs, stays away or has ended is found and named.
 */
import { UserError } from "../errors.ts";
import type { GradientExchange } from "./messages.ts";
import { addHalves, fromHalves, halfScale, largestBits, toHalves } from "./ranks/half_sums.ts";
import { BEAT_TAG, loadMpi, type Mpi, type MpiRequest } from "./ranks/mpi.ts";
import type { Ranks } from "./ranks/ranks.ts";
import { type ActorContext, defineActor } from "./runtime/mod.ts";

/** Configuration of a `gradient_exchange` actor. */
export interface GradientExchangeConfig extends Ranks {
  /** Path of the library of MPI, which this process has joined its job by. */
  library: string;
  /** Time after which a rank that says nothing, or has ended while this one waits for it, is given up, in ms. */
  silenceMs?: number;
  /** Time after which a rank that has begun and does not come to an exchange is given up, in ms. */
  absenceMs?: number;
}

/** As long as PyTorch waits with NCCL. */
const ABSENCE_MS = 10 * 60_000;
/** Before it begins, the first rank alone reads the labels of all rows: of millions, over a network, more than an hour. */
const BEGIN_MS = 2 * 3600_000;
const SILENCE_MS = 30_000;
const BEAT_MS = 1000;
/** How long a wait polls without sleeping, and then how long it sleeps in between. */
const SPIN_MS = 0.2;
const SLEEP_MS = 1;

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** What a rank last said. */
interface Peer {
  rank: number;
  /** `undefined` until it has begun: the first rank has more to read before that. */
  heardAt: number | undefined;
  /** When it was first heard of; before that it cannot have come to an exchange. */
  begunAt: number;
  /** Exchanges that it has come to. */
  exchanges: number;
  /** Whether it has said that the last of them was its last. */
  hasEnded: boolean;
  next: MpiRequest;
}

/** Says that this rank lives, and hears whether others do: the first one of all, the others of the first one. */
class Heartbeat {
  readonly #mpi: Mpi;
  readonly #config: GradientExchangeConfig;
  readonly #peers: Peer[];
  readonly #timer: ReturnType<typeof setInterval>;
  #sending: MpiRequest[] = [];
  #beatAt = performance.now();
  #begunAt = this.#beatAt;
  /** Exchanges that this rank has come to, and since when it has waited for the others in the newest. */
  #exchanges = 0;
  #waitsSince: number | undefined;

  /** @param fail is told why the run cannot go on */
  constructor(mpi: Mpi, config: GradientExchangeConfig, fail: (error: UserError) => void) {
    this.#mpi = mpi;
    this.#config = config;
    const { rank, size } = config;
    const others = rank === 0 ? Array.from({ length: size - 1 }, (_, i) => i + 1) : [0];
    this.#peers = others.map((other) => ({
      rank: other,
      heardAt: undefined,
      begunAt: Infinity,
      exchanges: 0,
      hasEnded: false,
      next: mpi.receive(1, other, BEAT_TAG),
    }));
    this.#timer = setInterval(() => {
      const problem = this.#beat();
      if (problem !== undefined) fail(new UserError(problem));
    }, BEAT_MS);
  }

  /** Waits in an exchange, to which all ranks come. */
  async exchange<T>(exchanged: () => Promise<T>): Promise<T> {
    this.#exchanges++;
    this.#waitsSince = performance.now();
    const result = await exchanged();
    this.#waitsSince = undefined;
    return result;
  }

  /** All ranks have begun. */
  met(): void {
    for (const peer of this.#peers) this.#hear(peer, peer.heardAt ?? performance.now());
  }

  #hear(peer: Peer, now: number): void {
    peer.heardAt = now;
    peer.begunAt = Math.min(peer.begunAt, now);
  }

  #beat(): string | undefined {
    const now = performance.now();
    // This process was stopped itself, or its machine slept.
    const slept = now - this.#beatAt - BEAT_MS;
    this.#beatAt = now;
    if (slept > 5 * BEAT_MS) {
      this.#begunAt += slept;
      for (const peer of this.#peers) {
        peer.begunAt += slept;
        if (peer.heardAt !== undefined) peer.heardAt += slept;
      }
      if (this.#waitsSince !== undefined) this.#waitsSince += slept;
    }
    this.#tell(this.#exchanges);
    return this.#peers.map((peer) => this.#problemOf(peer, now)).find((problem) => problem !== undefined);
  }

  #tell(exchanges: number): void {
    this.#sending = this.#sending.filter((request) => !request.test());
    for (const { rank } of this.#peers) this.#sending.push(this.#mpi.send([exchanges], rank, BEAT_TAG));
  }

  /** What is wrong with a rank, after what it has said since. */
  #problemOf(peer: Peer, now: number): string | undefined {
    while (!peer.hasEnded && peer.next.test()) {
      const [told] = peer.next.data;
      peer.hasEnded = told < 0;
      peer.exchanges = peer.hasEnded ? ~told : told;
      this.#hear(peer, now);
      if (!peer.hasEnded) peer.next = this.#mpi.receive(1, peer.rank, BEAT_TAG);
    }
    const { rank, silenceMs = SILENCE_MS, absenceMs = ABSENCE_MS } = this.#config;
    if (peer.heardAt === undefined) {
      const wait = now - this.#begunAt;
      if (wait <= Math.max(BEGIN_MS, absenceMs)) return undefined;
      return `rank ${peer.rank} has not begun to exchange ${
        Math.round(wait / 1000)
      } s after rank ${rank}: it hangs, or still reads its images. All ranks end`;
    }
    const last = `it was last in exchange ${peer.exchanges}, rank ${rank} is in ${this.#exchanges}`;
    const isBehind = peer.exchanges < this.#exchanges && this.#waitsSince !== undefined;
    if (peer.hasEnded && !isBehind) return undefined;
    // Of those that all wait for the first rank, the second one speaks first.
    const silence = now - peer.heardAt - 2 * BEAT_MS * Math.max(0, rank - 1);
    if (silence > silenceMs && peer.hasEnded) {
      return `rank ${peer.rank} has ended, and rank ${rank} waits for it (${last}). All ranks end; resume the run from its ` +
        "newest checkpoint";
    }
    if (silence > silenceMs) {
      return `rank ${peer.rank} has not been heard of for ${
        Math.round(silence / 1000)
      } s (${last}). All ranks end; resume the ` +
        "run from its newest checkpoint";
    }
    if (isBehind && now - Math.max(this.#waitsSince!, peer.begunAt) > absenceMs) {
      return `rank ${peer.rank} lives, but has not come to an exchange for ${
        Math.round(absenceMs / 1000)
      } s (${last}). All ` +
        "ranks end; resume the run from its newest checkpoint";
    }
    return undefined;
  }

  /** This rank says nothing from now on. */
  stop(): void {
    clearInterval(this.#timer);
    this.#tell(~this.#exchanges);
    for (const { hasEnded, next } of this.#peers) if (!hasEnded) next.cancel();
  }
}

/**
 * Sums float32s over all ranks, in place: each rank adds up one part of them, and tells all. So a rank sends half of the bytes that
 * MPI's sum of float32 sends, whatever the number of ranks. MPI itself has no float16.
 */
async function sumHalves(mpi: Mpi, values: Float32Array<ArrayBuffer>, scale: number): Promise<void> {
  const { size } = mpi;
  if (Number.isNaN(scale)) return void values.fill(NaN); // of what is not finite no step is made
  const parts = await mpi.swap(new Uint8Array(toHalves(values, scale, size).buffer));
  const sums = addHalves(new Float16Array(parts.buffer), size);
  const all = await mpi.gather(new Uint8Array(sums.buffer));
  fromHalves(new Float16Array(all.buffer), scale, values);
}

/** Waits until MPI is done with something, and leaves the core to others meanwhile. */
async function done(request: MpiRequest, context: ActorContext<GradientExchange>): Promise<void> {
  const start = performance.now();
  while (!request.test()) {
    context.signal.throwIfAborted();
    if (performance.now() - start > SPIN_MS) await sleep(SLEEP_MS);
  }
}

export default defineActor<GradientExchange, GradientExchangeConfig>((config, context) => {
  const mpi = loadMpi([config.library]);
  mpi.join();
  const heartbeat = new Heartbeat(mpi, config, (error) => context.fail(error));
  context.onStop(() => heartbeat.stop());
  return {
    handlers: {
      async agree(values) {
        const request = mpi.beginMax([...values]);
        await heartbeat.exchange(() => context.waitOutside(done(request, context)));
        heartbeat.met();
        return request.data;
      },

      async sum(values) {
        await heartbeat.exchange(() => context.work("sum", () => mpi.sum(values)));
        return values;
      },

      async sumHalves(values) {
        await heartbeat.exchange(async () => {
          const largest = mpi.beginMax([largestBits(values)]);
          await context.waitOutside(done(largest, context));
          await context.work("sum", () => sumHalves(mpi, values, halfScale(largest.data[0], mpi.size)));
        });
        return values;
      },

      async gather(values) {
        const bytes = new Uint8Array(values.buffer);
        const all = await heartbeat.exchange(() => context.work("gather", () => mpi.gather(bytes)));
        return new Float32Array(all.buffer);
      },

      async broadcast(values) {
        const bytes = new Uint8Array(values.buffer);
        await heartbeat.exchange(() => context.work("broadcast", () => mpi.broadcast(bytes)));
        return values;
      },
    },
  };
});
