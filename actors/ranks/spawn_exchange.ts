/** The actor that exchanges with the other ranks, in a run's system. */
import { type ActorModules, actorUrl } from "../catalog.ts";
import type gradientExchange from "../gradient_exchange.ts";
import type { GradientExchangeConfig } from "../gradient_exchange.ts";
import type { GradientExchange } from "../messages.ts";
import type { ActorRef, ActorSystem } from "../runtime/mod.ts";
import type { RankPeers } from "./peers.ts";
import type { RankSettings } from "./ranks.ts";

/** How long MPI may take to let this rank in, in ms. */
const JOIN_MS = 300_000;

/** Spawns the actor that exchanges with the other ranks. */
export function spawnExchange(
  system: ActorSystem,
  { exchange, ...ranks }: RankSettings,
  actors: ActorModules | undefined,
): ActorRef<GradientExchange> {
  const url = actorUrl("gradient_exchange", actors);
  const config = { ...ranks, ...exchange } as GradientExchangeConfig;
  return system.spawn<typeof gradientExchange>("gradient_exchange", url, config, { startTimeoutMs: JOIN_MS })
    .ref;
}

/** How much later than another one a rank may come to an exchange of an evaluation, in ms: between two it reads all images. */
const ABSENCE_MS = 24 * 3600_000;

/** Spawns the actor that exchanges with the other ranks of an evaluation; nothing where there are none. */
export function spawnPeers(
  system: ActorSystem,
  ranks: RankSettings | undefined,
  actors: ActorModules | undefined,
): RankPeers | undefined {
  if (ranks === undefined) return undefined;
  const { rank, size } = ranks;
  const settings = { rank, size, exchange: { absenceMs: ABSENCE_MS, ...ranks.exchange } };
  return { rank, size, exchange: spawnExchange(system, settings, actors) };
}
