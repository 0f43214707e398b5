/** What `doctor` finds of several processes: the library of MPI, the ranks, and the device of each. */
import { cpus } from "node:os";
import { loadMpi, MPI_LIBRARIES } from "../../actors/ranks/mpi.ts";
import type { World } from "../../actors/ranks/world.ts";
import { counted } from "../../data/printable.ts";
import { UserError } from "../../errors.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import type { Finding } from "../commands/doctor.ts";

/** What a rank says of itself. */
export interface RankFacts {
  host: string;
  adapter: string;
  isSoftware: boolean;
  /** Cores that it may use, and that its machine has. */
  cores: number;
  allCores: number;
}

/** Says which library of MPI there is, where no launcher started this process. */
function findLibrary(): Finding {
  const [what, state] = ["MPI", "ok"] as const;
  try {
    const { version, path } = loadMpi(Object.values(MPI_LIBRARIES).flat());
    return { what, state, found: `${version} (${path}): runs may have several processes` };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { what, state, found: "none found; only runs of several processes need it (./seed --mpi)" };
  }
}

/** Puts the facts of all ranks into findings. */
export function describeRanks(library: string, ranks: readonly RankFacts[]): Finding[] {
  const hosts = Map.groupBy(ranks.entries(), ([, { host }]) => host);
  const findings: Finding[] = [{
    what: "MPI",
    state: "ok",
    found: `${library}: ${counted(ranks.length, "rank")} on ${counted(hosts.size, "machine")}`,
  }];
  for (const [host, members] of hosts) {
    const numbers = members.map(([rank]) => rank);
    const who = numbers.length === 1 ? `rank ${numbers[0]}` : `ranks ${numbers.join(", ")}`;
    const facts = members.map(([, of]) => of);
    const [{ cores, allCores, isSoftware }] = facts;
    const adapters = [...new Set(facts.map(({ adapter }) => adapter))];
    const advice = [
      ...numbers.length === 1 || adapters.length === numbers.length ? [] : [
        isSoftware
          ? "they share its cores: one rank is as fast"
          : "they may share one device, which gains nothing: give each rank its own (docs/scaling.md#devices)",
      ],
      ...cores < Math.floor(allCores / numbers.length)
        ? [
          `the launcher binds each rank to ${
            counted(cores, "core")
          } of ${allCores}: readers need more, so add --bind-to none`,
        ]
        : [],
    ];
    findings.push({
      what: "ranks",
      state: advice.length === 0 ? "ok" : "warning",
      found: `${who} on ${host}: ${adapters.join("; ")}`,
      ...advice.length > 0 && { advice: advice.join("; ") },
    });
  }
  return findings;
}

/** Looks at the ranks of a job; every rank calls this. */
export async function checkRanks(world: World | undefined): Promise<Finding[]> {
  if (world === undefined) return [findLibrary()];
  const { name: adapter, isSoftware } = await describeAdapter();
  const own: RankFacts = {
    host: Deno.hostname(),
    adapter,
    isSoftware,
    cores: navigator.hardwareConcurrency,
    allCores: cpus().length,
  };
  const all = await world.gather(JSON.stringify(own));
  const { version, path } = world.library;
  return describeRanks(`${version} (${path})`, all.map((text) => JSON.parse(text)));
}
