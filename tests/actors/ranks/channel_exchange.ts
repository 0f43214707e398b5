/** An exchange between ranks in one process, by a channel that all of them name: what another program can put in the place of MPI. */
import type { GradientExchange } from "../../../actors/messages.ts";
import { addHalves, fromHalves, halfScale, largestBits, toHalves } from "../../../actors/ranks/half_sums.ts";
import type { Ranks } from "../../../actors/ranks/ranks.ts";
import { defineActor } from "../../../actors/runtime/mod.ts";

/** Rank and size, and the channel's name. */
export interface ChannelExchangeConfig extends Ranks {
  channel: string;
}

type Values = Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>;

/** What one rank says in an exchange; rank 0 says what all have in common. */
interface Said {
  rank: number;
  exchange: number;
  values?: Values;
  /** Whether it has ended: what others wait for does not come. */
  isGone?: boolean;
}

const AGAIN_MS = 20;

/** What all parts that ranks add up are when they are put together again. */
function sumAsHalves(all: readonly Float32Array<ArrayBuffer>[]): Float32Array<ArrayBuffer> {
  const ranks = all.length;
  const scale = halfScale(Math.max(...all.map(largestBits)), ranks);
  const halves = all.map((numbers) => toHalves(numbers, scale, 1));
  const joined = new Float16Array(ranks * halves[0].length);
  for (const [rank, of] of halves.entries()) joined.set(of, rank * of.length);
  const sums = new Float32Array(all[0].length);
  fromHalves(addHalves(joined, ranks), scale, sums);
  return sums;
}

export default defineActor<GradientExchange, ChannelExchangeConfig>((config, context) => {
  const { rank, size } = config;
  const channel = new BroadcastChannel(config.channel);
  context.onStop(() => {
    try {
      channel.postMessage({ ...own, values: undefined, isGone: true });
    } catch {
      // Deno 2.9.6 has let go of it together with another rank's of this thread, which has ended too.
    }
    channel.close();
  });
  const gone: number[] = [];
  const said = new Map<string, Values>();
  let wake = () => {};
  let own: Said = { rank, exchange: 0 };
  channel.onmessage = ({ data }: MessageEvent<Said>) => {
    if (data.isGone) gone.push(data.rank);
    if (data.values !== undefined) said.set(`${data.rank} ${data.exchange}`, data.values);
    // Who is behind may not have been there when it was said.
    if (rank === 0 && data.exchange === own.exchange && said.has(`all ${own.exchange}`)) say("all");
    // What the others tell the first rank does not wake a rank between them: it would tell its own again, and wake them.
    if (rank === 0 || data.rank === 0 || data.isGone) wake();
  };
  function say(name: "all" | "own"): void {
    channel.postMessage(name === "own" ? own : { ...own, values: said.get(`all ${own.exchange}`) });
  }
  const heard = (of: number, exchange: number) => said.get(`${of} ${exchange}`);

  /** The first rank combines what all have, in their order. */
  async function combine<V extends Values>(values: V, combined: (all: readonly V[]) => V): Promise<V> {
    own = { rank, exchange: own.exchange + 1, values: values.slice() };
    const { exchange } = own;
    const others = Array.from({ length: size - 1 }, (_, i) => i + 1);
    const result = () => {
      if (rank > 0) return heard(0, exchange) as V | undefined;
      const all = others.map((of) => heard(of, exchange) as V | undefined);
      return all.includes(undefined) ? undefined : combined([values, ...all as V[]]);
    };
    let found: V | undefined;
    while ((found = result()) === undefined) {
      if (rank > 0) say("own");
      context.signal.throwIfAborted();
      if (gone.length > 0) throw new Error(`rank ${gone[0]} has ended`);
      await context.wait(
        new Promise<void>((resolve) => {
          wake = resolve;
          setTimeout(resolve, AGAIN_MS);
        }),
      );
    }
    if (rank === 0) {
      said.set(`all ${exchange}`, found.slice()); // what is replied with goes away
      say("all");
    }
    return found;
  }
  return {
    handlers: {
      agree: (values) =>
        combine(values, (all) => all[0].map((_, i) => Math.max(...all.map((numbers) => numbers[i])))),
      sum: (values) =>
        combine(values, (all) => all.reduce((sum, numbers) => sum.map((value, i) => value + numbers[i]))),
      sumHalves: (values) => combine(values, sumAsHalves),
      gather: (values) => combine(values, (all) => Float32Array.from(all.flatMap((numbers) => [...numbers]))),
      broadcast: (values) => combine(values, (all) => all[0]),
    },
  };
});
