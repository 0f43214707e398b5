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
  /** Files that may be the launcher's library of MPI, the likeliest first. */
  libraries: readonly string[];
  /** What to do where its processes do not find each other; nothing where any launcher of the library's family will do. */
  advice?: string;
  /** The family of libraries that it tells who is there, where that depends on how it was started. */
  tells?: MpiFamily | "none";
}

/** Variables of a launcher. */
interface Launcher {
  name: string;
  rank: string;
  size: string;
  localRank?: string;
  /** More variables, which say the same as `rank` and `size` if they are there; it is another launcher if not. */
  sameRank?: string;
  sameSize?: string;
  families: readonly MpiFamily[];
  advice?: string;
  tells?: MpiFamily | "none";
}

/** Slurm, by its own variables. Not `SLURM_NTASKS`: a script of sbatch has it too, which is one process. */
const SRUN = {
  name: "srun",
  rank: "SLURM_PROCID",
  size: "SLURM_STEP_NUM_TASKS",
  localRank: "SLURM_LOCALID",
  advice:
    "Add --mpi=pmix to srun for Open MPI, or --mpi=pmi2 for MPICH (`srun --mpi=list` lists what there is)",
} as const;

/** The likeliest first: Slurm's own variables are there whatever it starts, another launcher among it. */
const LAUNCHERS: readonly Launcher[] = [
  {
    name: "Open MPI's mpirun",
    rank: "OMPI_COMM_WORLD_RANK",
    size: "OMPI_COMM_WORLD_SIZE",
    localRank: "OMPI_COMM_WORLD_LOCAL_RANK",
    families: ["Open MPI"],
  },
  { ...SRUN, sameRank: "PMI_RANK", sameSize: "PMI_SIZE", families: ["MPICH", "Open MPI"], tells: "MPICH" },
  {
    name: "mpiexec (PMI)",
    rank: "PMI_RANK",
    size: "PMI_SIZE",
    localRank: "MPI_LOCALRANKID",
    families: ["MPICH"],
  },
  { ...SRUN, sameRank: "PMIX_RANK", families: ["Open MPI", "MPICH"], tells: "Open MPI" },
  { ...SRUN, families: ["Open MPI", "MPICH"], tells: "none" },
];

/** Names the library of MPI, where it is none of the usual ones. */
export const LIBRARY_VARIABLE = "SEED_MPI_LIBRARY";

/** Every variable that {@linkcode readLauncher} reads. */
export const LAUNCHER_VARIABLES: readonly string[] = [
  LIBRARY_VARIABLE,
  ...new Set(
    LAUNCHERS.flatMap(({ rank, size, localRank, sameRank, sameSize }) =>
      [rank, size, localRank, sameRank, sameSize].filter((name) => name !== undefined)
    ),
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
  for (const { name, families, advice, tells, ...variables } of LAUNCHERS) {
    const [rank, size] = [numberOf(variables.rank), numberOf(variables.size)];
    if (rank === undefined || size === undefined) continue;
    const more = [[variables.sameRank, rank], [variables.sameSize, size]] as const;
    if (more.some(([variable, value]) => variable !== undefined && numberOf(variable) !== value)) continue;
    const own = get(LIBRARY_VARIABLE);
    const localRank = numberOf(variables.localRank);
    return {
      launcher: name,
      rank,
      size,
      ...localRank !== undefined && { localRank },
      libraries: own === undefined ? families.flatMap((family) => MPI_LIBRARIES[family]) : [own],
      ...advice !== undefined && { advice },
      ...tells !== undefined && { tells },
    };
  }
  return undefined;
}

/** Returns a variable of the environment, where it may be read: a launcher is looked for without a permission of its own. */
export function readVariable(variable: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) : undefined;
}
