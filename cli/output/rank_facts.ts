/** What the ranks of a job say of themselves: where each one is, and which device it has. */
import { cpus } from "node:os";
import { nameRanks } from "../../actors/ranks/ranks.ts";
import type { World } from "../../actors/ranks/world.ts";
import { counted } from "../../data/printable.ts";
import { describeAdapter } from "../../kernels/gpu.ts";

/** What a rank says of itself. */
export interface RankFacts {
  host: string;
  adapter: string;
  isSoftware: boolean;
  /** Cores that it may use, and that its machine has. */
  cores: number;
  allCores: number;
}

/** The ranks of one machine. */
export interface HostRanks {
  host: string;
  /** `ranks 0, 1`. */
  who: string;
  /** Names of their adapters, each once. */
  adapters: string[];
  /** Ranks whose adapters have the same name, where there are any: `ranks 0, 1` for each name. */
  sharing: { who: string; adapter: string; isSoftware: boolean }[];
  /** What to do where the launcher binds them to few cores. */
  bound?: string;
}

/** What is said of ranks that have one software adapter. */
export const SHARED_CORES = "they share its cores: one rank is as fast";

/** What is said of ranks whose GPUs have one name: no adapter tells whether it is the same device. */
export const SHARED_DEVICE =
  "they may share one device, which gains nothing: give each rank its own (docs/scaling.md#devices)";

/** Sorts ranks by their machines. */
export function byHost(ranks: readonly RankFacts[]): HostRanks[] {
  const hosts = Map.groupBy(ranks.entries(), ([, { host }]) => host);
  return [...hosts].map(([host, members]) => {
    const numbers = members.map(([rank]) => rank);
    const [, { cores, allCores }] = members[0];
    const adapters = Map.groupBy(members, ([, { adapter }]) => adapter);
    return {
      host,
      who: nameRanks(numbers),
      adapters: [...adapters.keys()],
      sharing: [...adapters].filter(([, owners]) => owners.length > 1).map(([adapter, owners]) => ({
        who: nameRanks(owners.map(([rank]) => rank)),
        adapter,
        isSoftware: owners[0][1].isSoftware,
      })),
      ...cores < Math.floor(allCores / numbers.length) && {
        bound: `the launcher binds each rank to ${
          counted(cores, "core")
        } of ${allCores}: readers need more, so add --bind-to none`,
      },
    };
  });
}

/** Says which ranks there are, and what is not well with their devices and cores. */
export function describeStart(ranks: readonly RankFacts[]): { lines: string[]; warnings: string[] } {
  const hosts = byHost(ranks);
  return {
    lines: hosts.map(({ who, host, adapters, sharing }) => {
      const sharesCores = sharing.some(({ isSoftware }) => isSoftware);
      return `ranks     ${who.replace(/^ranks? /, "")} on ${host}: ${adapters.join("; ")}${
        sharesCores ? `; ${SHARED_CORES}` : ""
      }`;
    }),
    warnings: hosts.flatMap(({ who, host, sharing, bound }) => [
      ...sharing.filter(({ isSoftware }) => !isSoftware)
        .map(({ who, adapter }) => `${who} on ${host}, ${adapter}: ${SHARED_DEVICE}`),
      ...bound === undefined ? [] : [`${who} on ${host}: ${bound}`],
    ]),
  };
}

/** Returns what all ranks say of themselves; every rank calls this. */
export async function gatherFacts(world: World): Promise<RankFacts[]> {
  const { name: adapter, isSoftware } = await describeAdapter();
  const { state } = await Deno.permissions.query({ name: "sys", kind: "hostname" });
  const own: RankFacts = {
    host: state === "granted" ? Deno.hostname() : `host of rank ${world.rank}`,
    adapter,
    isSoftware,
    cores: navigator.hardwareConcurrency,
    allCores: cpus().length,
  };
  const all = await world.gather(JSON.stringify(own));
  return all.map((text) => JSON.parse(text));
}
