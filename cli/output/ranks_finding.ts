/** What `doctor` finds of several processes: the library of MPI, the ranks, and the device of each. */
import { loadMpi, MPI_LIBRARIES } from "../../actors/ranks/mpi.ts";
import type { World } from "../../actors/ranks/world.ts";
import { counted } from "../../data/printable.ts";
import { UserError } from "../../errors.ts";
import type { Finding } from "../commands/doctor.ts";
import { byHost, gatherFacts, type RankFacts, SHARED_CORES, SHARED_DEVICE } from "./rank_facts.ts";

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
  const hosts = byHost(ranks);
  const found = `${library}: ${counted(ranks.length, "rank")} on ${counted(hosts.length, "machine")}`;
  return [
    { what: "MPI", state: "ok", found },
    ...hosts.map(({ host, who, adapters, sharing, bound }): Finding => {
      const advice = [
        ...sharing.length === 0
          ? []
          : [sharing.every(({ isSoftware }) => isSoftware) ? SHARED_CORES : SHARED_DEVICE],
        ...bound === undefined ? [] : [bound],
      ];
      return {
        what: "ranks",
        state: advice.length === 0 ? "ok" : "warning",
        found: `${who} on ${host}: ${adapters.join("; ")}`,
        ...advice.length > 0 && { advice: advice.join("; ") },
      };
    }),
  ];
}

/** Looks at the ranks of a job; every rank calls this. */
export async function checkRanks(world: World | undefined): Promise<Finding[]> {
  if (world === undefined) return [findLibrary()];
  const { version, path } = world.library;
  return describeRanks(`${version} (${path})`, await gatherFacts(world));
}
