/** Which part of a job this process is, as the program that started it says: mpirun, mpiexec, srun. */
import { MPI_LIBRARIES, type MpiFamily } from "./mpi.ts";

/** What a launcher says of a process. */
export interface LaunchedProcess {
  /** The launcher's name. */
  launcher: string;
  /** Number of this process, from 0. */
  rank: number;
  /** How many there are. */
  size: number;
  /** Number of this process on its machine, from 0, where it is known. */
  localRank?: number;
  /** How many there are on its machine, where that is known. */
  localSize?: number;
  /** Files that may be the launcher's library of MPI, the likeliest first. */
  libraries: readonly string[];
}

/** Variables of a launcher. */
interface Launcher {
  name: string;
  rank: string;
  size: string;
  localRank?: string;
  localSize?: string;
  families: readonly MpiFamily[];
}

/** The likeliest first: Slurm's own variables are there whatever library it starts. */
const LAUNCHERS: readonly Launcher[] = [
  {
    name: "Open MPI's mpirun",
    rank: "OMPI_COMM_WORLD_RANK",
    size: "OMPI_COMM_WORLD_SIZE",
    localRank: "OMPI_COMM_WORLD_LOCAL_RANK",
    localSize: "OMPI_COMM_WORLD_LOCAL_SIZE",
    families: ["Open MPI"],
  },
  {
    name: "mpiexec (PMI)",
    rank: "PMI_RANK",
    size: "PMI_SIZE",
    localRank: "MPI_LOCALRANKID",
    localSize: "MPI_LOCALNRANKS",
    families: ["MPICH"],
  },
  {
    // Not SLURM_NTASKS: a script of sbatch has it too, which is one process.
    name: "srun",
    rank: "SLURM_PROCID",
    size: "SLURM_STEP_NUM_TASKS",
    localRank: "SLURM_LOCALID",
    families: ["Open MPI", "MPICH"],
  },
];

/** Names the library of MPI, where it is none of the usual ones. */
export const LIBRARY_VARIABLE = "SEED_MPI_LIBRARY";

/** Every variable that {@linkcode readLauncher} reads. */
export const LAUNCHER_VARIABLES: readonly string[] = [
  LIBRARY_VARIABLE,
  ...LAUNCHERS.flatMap(({ rank, size, localRank, localSize }) =>
    [rank, size, localRank, localSize].filter((name) => name !== undefined)
  ),
];

/**
 * Returns what a launcher says of this process; `undefined` where none started it.
 *
 * @param get a variable of the environment
 */
export function readLauncher(get: (name: string) => string | undefined): LaunchedProcess | undefined {
  const numberOf = (name: string | undefined) => {
    const text = name === undefined ? undefined : get(name);
    return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
  };
  for (const { name, families, ...variables } of LAUNCHERS) {
    const [rank, size] = [numberOf(variables.rank), numberOf(variables.size)];
    if (rank === undefined || size === undefined) continue;
    const own = get(LIBRARY_VARIABLE);
    const [localRank, localSize] = [numberOf(variables.localRank), numberOf(variables.localSize)];
    return {
      launcher: name,
      rank,
      size,
      ...localRank !== undefined && { localRank },
      ...localSize !== undefined && { localSize },
      libraries: own === undefined ? families.flatMap((family) => MPI_LIBRARIES[family]) : [own],
    };
  }
  return undefined;
}

/** Returns a variable of the environment, where it may be read: a launcher is looked for without a permission of its own. */
export function readVariable(variable: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) : undefined;
}
