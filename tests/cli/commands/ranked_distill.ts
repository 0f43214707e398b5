/** `mpirun -n 2 deno task distill` of something tiny: six steps an epoch, ten epochs. */
import { join } from "node:path";
import { ended, launch, type Launched } from "../../actors/ranks/launch.ts";
import type { Machines } from "../../actors/ranks/machines.ts";
import { digestFile, type RunFolder, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { taskFlags } from "../run_program.ts";

const PROGRAM = "cli/commands/distill.ts";

/** Epochs of such a run. */
export const EPOCHS = 10;

const FLAGS: Readonly<Record<string, string>> = {
  "--distill": TINY_TEACHER,
  "--teacher-arch": "tiny_convnet",
  "--student-arch": "tiny_convnet",
  "--plugin": TINY_ENCODER,
  "--batch-size": "4",
  "--workers": "1",
  "--queue": "16",
  "--image-size": "32",
  "--epochs": `${EPOCHS}`,
  "--print-freq": "1",
};

/**
 * Starts a distillation by two ranks.
 *
 * @param output name of the folder that it writes to
 * @param machines where the ranks are, one on each; both on this machine where it is left out
 * @returns how it ended
 */
export async function distillBy(
  launcher: string,
  { data, path }: RunFolder,
  output: string,
  changes: Readonly<Record<string, string>> = {},
  machines?: Machines,
): Promise<Launched> {
  const flags = { ...FLAGS, "--data": data, "--output": join(path, output), ...changes };
  const args = [
    ...[...taskFlags(PROGRAM).slice(1), PROGRAM, "--no-tune", "--no-insight"],
    ...Object.entries(flags).flat(),
  ];
  return await ended(launch(launcher, 2, args, machines));
}

/** Names of the checkpoints in a folder, the oldest first. */
export function checkpoints(folder: string): string[] {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  return names.filter((name) => name.endsWith(".pth.tar")).toSorted();
}

/** SHA-256 of the newest checkpoint in a folder. */
export async function digestLast(folder: string): Promise<string> {
  return await digestFile(join(folder, checkpoints(folder).at(-1)!));
}

/** The process that is a rank of the run that writes to a folder; nothing where it has ended. */
export function pidOf(rank: number, output: string): number | undefined {
  const marks = [`OMPI_COMM_WORLD_RANK=${rank}`, `PMI_RANK=${rank}`];
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const [command, environment] = ["cmdline", "environ"].map((file) =>
        Deno.readTextFileSync(`/proc/${name}/${file}`).split("\0")
      );
      if (environment.some((entry) => marks.includes(entry)) && command.includes(output)) return Number(name);
    } catch {
      // it has ended, or is somebody else's
    }
  }
  return undefined;
}

/** Waits until a run has written its first checkpoint. */
export async function untilSaved(output: string): Promise<void> {
  const isSaved = async () =>
    await Deno.stat(output).then(() => true, () => false) && checkpoints(output).length > 0;
  while (!await isSaved()) await new Promise((resolve) => setTimeout(resolve, 20));
}
