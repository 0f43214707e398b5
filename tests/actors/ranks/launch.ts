/** Starts programs as several ranks, by the launchers of MPI that this machine has. */
import { IS_LONG } from "../../long.ts";
import { WORKERS } from "../../one_thread.ts";
import { skip } from "../../skip.ts";
import type { Machines } from "./machines.ts";

/** Debian's names of the two launchers, which can be there side by side, and what else they are told. */
const LAUNCHERS: Readonly<Record<string, readonly string[]>> = {
  "mpirun.openmpi": ["--oversubscribe", "--bind-to", "none"],
  "mpirun.mpich": [],
};

function isThere(command: string): boolean {
  try {
    return new Deno.Command(command, { args: ["--version"], stdout: "null", stderr: "null" }).outputSync()
      .success;
  } catch {
    return false;
  }
}

/** The launchers that are there. */
export const launchers: readonly string[] = Object.keys(LAUNCHERS).filter(isThere);

/** How all ranks ended, and what they said. */
export interface Launched {
  code: number;
  stdout: string;
  stderr: string;
}

/**
 * Starts a program of Deno as so many ranks.
 *
 * @param args of `deno run`: flags, program and its arguments
 * @param machines where the ranks are; this machine where it is left out
 */
export function launch(
  launcher: string,
  ranks: number,
  args: readonly string[],
  machines: Pick<Machines, "prefix" | "args"> = { prefix: [], args: [] },
): Deno.ChildProcess {
  const [command, ...prefix] = [...machines.prefix, launcher];
  return new Deno.Command(command, {
    args: [
      ...[...prefix, ...LAUNCHERS[launcher], ...machines.args],
      ...["-n", `${ranks}`, Deno.execPath(), "run", ...args],
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    // Open MPI does not start the programs of root without being told twice, and CI is root.
    env: { ...WORKERS, NO_COLOR: "1", OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1" },
  }).spawn();
}

/** Waits for the end of what was started. */
export async function ended(process: Deno.ChildProcess): Promise<Launched> {
  const { code, stdout, stderr } = await process.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/**
 * Defines a test with each launcher, which is skipped where there is none.
 *
 * @param among the launchers; all that are there where it is left out
 * @param isLong whether it is run with the long tests alone
 */
export function mpiTest(
  name: string,
  test: (launcher: string) => Promise<void>,
  among: readonly string[] = launchers,
  isLong = false,
): void {
  for (const launcher of among) {
    Deno.test(`${name}: ${launcher}`, { ignore: isLong && !IS_LONG }, () => test(launcher));
  }
  if (launchers.length > 0) return;
  Deno.test(
    name,
    () => skip(name, "there is neither mpirun.openmpi nor mpirun.mpich: apt-get install openmpi-bin mpich"),
  );
}
