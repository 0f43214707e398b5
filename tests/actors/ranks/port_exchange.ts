/** An exchange between ranks in one process, by ports: what another program can put in the place of MPI. */
import type { GradientExchange } from "../../../actors/messages.ts";
import type { Ranks } from "../../../actors/ranks/ranks.ts";
import { defineActor } from "../../../actors/runtime/mod.ts";

/** Rank 0 has a port to each of the others, in their order; they have one to it. */
export interface PortExchangeConfig extends Ranks {
  ports: MessagePort[];
}

type Values = Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>;

/** The messages of a port, one after the other. */
function reader(port: MessagePort): () => Promise<Values> {
  const come: Values[] = [];
  let wake = () => {};
  port.onmessage = ({ data }) => {
    come.push(data);
    wake();
  };
  return async () => {
    while (come.length === 0) await new Promise<void>((resolve) => wake = resolve);
    return come.shift()!;
  };
}

/** Returns the ports of each rank. */
export function connectRanks(size: number): MessagePort[][] {
  const channels = Array.from({ length: size - 1 }, () => new MessageChannel());
  return [channels.map(({ port1 }) => port1), ...channels.map(({ port2 }) => [port2])];
}

export default defineActor<GradientExchange, PortExchangeConfig>(({ rank, ports }, context) => {
  const next = ports.map(reader);
  context.onStop(() => ports.forEach((port) => port.close()));
  /** The first rank combines what all have, in their order. */
  async function combine<V extends Values>(own: V, combined: (all: readonly V[]) => V): Promise<V> {
    if (rank > 0) {
      ports[0].postMessage(own);
      return await context.wait(next[0]()) as V;
    }
    const others = await context.wait(Promise.all(next.map((read) => read())));
    const result = combined([own, ...others as V[]]);
    for (const port of ports) port.postMessage(result);
    return result;
  }
  return {
    handlers: {
      agree: (values) =>
        combine(values, (all) => all[0].map((_, i) => Math.max(...all.map((numbers) => numbers[i])))),
      sum: (values) =>
        combine(values, (all) => all.reduce((sum, numbers) => sum.map((value, i) => value + numbers[i]))),
      gather: (values) => combine(values, (all) => Float32Array.from(all.flatMap((numbers) => [...numbers]))),
      broadcast: (values) => combine(values, (all) => all[0]),
    },
  };
});
