/** What the binding of MPI does, with every launcher that is there. */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { fileURLToPath } from "node:url";
import { UserError } from "../../../errors.ts";
import { LAUNCHER_VARIABLES, readLauncher } from "../../../actors/ranks/launcher.ts";
import { loadMpi, MPI_LIBRARIES } from "../../../actors/ranks/mpi.ts";
import { joinWorld } from "../../../actors/ranks/world.ts";
import { ended, launch, mpiTest } from "./launch.ts";

const COLLECTIVES = fileURLToPath(import.meta.resolve("./collectives.ts"));
const LAST_RANK = fileURLToPath(import.meta.resolve("./last_rank.ts"));
const FAILING_RANK = fileURLToPath(import.meta.resolve("./failing_rank.ts"));
const LIBRARYLESS = fileURLToPath(import.meta.resolve("./libraryless.ts"));
const FLAGS = [
  "--quiet",
  "--no-prompt",
  "--no-check",
  "--allow-read",
  "--allow-env",
  "--allow-ffi",
  "--allow-run",
];

mpiTest(
  "three ranks agree, sum, gather and broadcast, and hear what the first one shares",
  async (launcher) => {
    const { code, stdout, stderr } = await ended(launch(launcher, 3, [...FLAGS, COLLECTIVES]));
    assertEquals(code, 0, stderr);
    const told = stdout.trim().split("\n").map((line) => JSON.parse(line)).toSorted((a, b) =>
      a.rank - b.rank
    );
    assertEquals(told.map(({ rank }) => rank), [0, 1, 2]);
    for (const { rank: _, ...rest } of told) {
      assertEquals(rest, {
        size: 3,
        onMachine: 3,
        shared: { from: 0, text: "é" },
        texts: ["rank 0", "rank 1!", "rank 2!!"],
        agreed: [2, 0, 7],
        gathered: [0, 0.5, 1, 0.5, 2, 0.5],
        broadcast: [3],
        sum: [300_001, 6, 6 * 999, 0],
        halves: [300_001, 6, 5992, 0], // 2 * 2997 has 12 bits, and so has 2 * 5994
      });
    }
  },
);

mpiTest("a rank that hangs ends all, and is named", async (launcher) => {
  const start = performance.now();
  const { code, stderr } = await ended(launch(launcher, 2, [...FLAGS, COLLECTIVES, "hang"]));
  assert(code !== 0);
  assertMatch(
    stderr,
    /rank 1 has not been heard of for [345] s \(it was last in exchange [01], rank 0 is in 2\)\. All ranks end; resume/,
  );
  assert(performance.now() - start < 30_000);
});

mpiTest("a rank that lives and does not come to a sum ends all, and is named", async (launcher) => {
  const { code, stderr } = await ended(launch(launcher, 2, [...FLAGS, COLLECTIVES, "away"]));
  assert(code !== 0);
  assertMatch(
    stderr,
    /rank 1 lives, but has not come to an exchange for 3 s \(it was last in exchange 3, rank 0 is in 4\)\. All ranks end; resume/,
  );
});

mpiTest("a rank that leaves alone ends all, and is named", async (launcher) => {
  const { code, stderr } = await ended(launch(launcher, 2, [...FLAGS, COLLECTIVES, "gone"]));
  assert(code !== 0);
  assertMatch(
    stderr,
    /rank 1 has ended, and rank 0 waits for it \(it was last in exchange 2, rank 0 is in 3\)\. All ranks end; resume/,
  );
});

mpiTest(
  "a signal to a rank whose work is done leaves the first one alone, which still writes",
  async (launcher) => {
    const { code, stdout, stderr } = await ended(launch(launcher, 2, [...FLAGS, "--allow-sys", LAST_RANK]));
    assertEquals([code, stdout, stderr], [0, "written\n", ""]);
  },
);

mpiTest(
  "a rank that fails leaves it to the first one to write what it has, and to end all",
  async (launcher) => {
    const run = async (stop: string) => {
      const { code, stdout, stderr } = await ended(
        launch(launcher, 2, [...FLAGS, "--allow-sys", FAILING_RANK, stop]),
      );
      // Beside what the launcher says of the end.
      return [code, stdout, stderr.split("\n").filter((line) => line.includes("error: ")).toSorted()];
    };
    const [together, atOnce] = await Promise.all(["together", "at once"].map(run));
    const own = "rank 1: error: the loss is NaN";
    assertEquals(together, [1, "written\n", ["error: the loss is NaN", own]]);
    assertEquals(atOnce, [1, "written\n", [
      "error: rank 1 of the run failed; its own message says why",
      own,
    ]]);
  },
);

mpiTest(
  "ranks wait for one that begins later than it may be silent, or away once it has begun",
  async (launcher) => {
    const { code, stderr } = await ended(launch(launcher, 2, [...FLAGS, COLLECTIVES, "late"]));
    assertEquals([code, stderr], [0, ""]);
  },
);

mpiTest("a rank that cannot join ends all, which wait for it", async (launcher) => {
  const start = performance.now();
  const { code, stderr } = await ended(launch(launcher, 3, [...FLAGS, LIBRARYLESS]));
  assert(code !== 0);
  assertEquals(
    stderr.match(/error: no library of MPI was found: looked for libnothing\.so\. /g)?.length,
    1,
    stderr,
  );
  assert(performance.now() - start < 30_000);
});

Deno.test("readLauncher() knows what each launcher says, and who is alone", () => {
  const read = (variables: Record<string, string>) => readLauncher((name) => variables[name]);
  assertEquals(read({}), undefined);
  const openMpi = {
    OMPI_COMM_WORLD_RANK: "3",
    OMPI_COMM_WORLD_SIZE: "4",
    OMPI_COMM_WORLD_LOCAL_RANK: "1",
  };
  assertEquals(read({ ...openMpi, PMI_RANK: "0", PMI_SIZE: "1", SLURM_PROCID: "9" }), {
    launcher: "Open MPI's mpirun",
    rank: 3,
    size: 4,
    localRank: 1,
    libraries: MPI_LIBRARIES["Open MPI"],
  });
  assertEquals(read({ PMI_RANK: "0", PMI_SIZE: "2" }), {
    launcher: "mpiexec (PMI)",
    rank: 0,
    size: 2,
    libraries: MPI_LIBRARIES.MPICH,
  });
  // A script of sbatch is one process, however many tasks its job has.
  assertEquals(read({ SLURM_PROCID: "0", SLURM_NTASKS: "8" }), undefined);
  const slurm = { SLURM_PROCID: "5", SLURM_STEP_NUM_TASKS: "8", SLURM_LOCALID: "1" };
  const { launcher, rank, size, localRank, libraries } = read(slurm)!;
  assertEquals([launcher, rank, size, localRank, libraries.length], ["srun", 5, 8, 1, 7]);
  assertEquals(libraries[0], MPI_LIBRARIES["Open MPI"][0]);
  assertEquals(read(slurm)!.tells, "none");
  // With --mpi=pmix, with --mpi=pmi2, and of an mpiexec that is itself Slurm's task.
  assertEquals(read({ ...slurm, PMIX_RANK: "5" })!.tells, "Open MPI");
  const pmi2 = read({ ...slurm, PMI_RANK: "5", PMI_SIZE: "8" })!;
  assertEquals([pmi2.launcher, pmi2.localRank, pmi2.tells], ["srun", 1, "MPICH"]);
  assertEquals(pmi2.libraries[0], MPI_LIBRARIES.MPICH[0]);
  assertEquals(read({ ...slurm, PMI_RANK: "11", PMI_SIZE: "16" })!.launcher, "mpiexec (PMI)");
  assertEquals(read({ ...slurm, SEED_MPI_LIBRARY: "/opt/libmpi.so" })!.libraries, ["/opt/libmpi.so"]);
  assert(LAUNCHER_VARIABLES.includes("SLURM_STEP_NUM_TASKS"));
});

Deno.test("a process that no launcher started loads no library; one whose library is not there says what to do", () => {
  assertEquals(joinWorld(() => undefined), undefined);
  assertEquals(joinWorld((name) => ({ PMI_RANK: "0", PMI_SIZE: "1" })[name]), undefined);
  const variables: Record<string, string> = {
    PMI_RANK: "0",
    PMI_SIZE: "2",
    SEED_MPI_LIBRARY: "libnothing.so",
  };
  assertThrows(
    () => joinWorld((name) => variables[name]),
    UserError,
    "no library of MPI was found: looked for libnothing.so. Install Open MPI or MPICH",
  );
  assertThrows(
    () => loadMpi(["libc.so.6"]),
    UserError,
    "expected a library of MPI, found no MPI_Initialized",
  );
});
