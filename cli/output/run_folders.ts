/** Finds the folders of runs. */
import { join } from "node:path";
import { UserError } from "../../errors.ts";

/** What every run leaves, whatever came of it. */
const MARK = "config.json";

/** How deep runs may lie in a folder of runs. */
const DEPTH = 3;

async function startOf(folder: string): Promise<number | undefined> {
  return (await Deno.stat(join(folder, MARK)).catch(() => undefined))?.mtime?.getTime();
}

/**
 * Finds the runs in a folder, the newest first. A folder that is a run's own is that run alone: evaluations in it belong to
 * it. Folders that cannot be read have none.
 */
export async function findRuns(parent: string): Promise<string[]> {
  const found: { folder: string; start: number }[] = [];
  const look = async (folder: string, depth: number, isLink: boolean) => {
    const start = await startOf(folder);
    if (start !== undefined) return void found.push({ folder, start });
    // A link to a run is one; a link to other folders may lead round in a circle.
    if (depth === DEPTH || isLink) return;
    for (const { name, isFile, isSymlink } of await Array.fromAsync(Deno.readDir(folder)).catch(() => [])) {
      if (!isFile && !name.startsWith(".")) await look(join(folder, name), depth + 1, isSymlink);
    }
  };
  await look(parent, 0, false);
  return found.sort((a, b) => b.start - a.start).map(({ folder }) => folder);
}

/** Says what a folder is that should be a run's. */
async function describeOther(folder: string): Promise<string> {
  const stat = await Deno.stat(folder).catch(() => undefined);
  if (stat === undefined) return "it does not exist";
  return stat.isDirectory ? `it has no ${MARK}` : "it is a file";
}

/**
 * Makes sure that folders are of runs.
 *
 * @throws {UserError} that names the first one that is not
 */
export async function checkRunFolders(folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    if (await startOf(folder) !== undefined) continue;
    throw new UserError(
      `${folder}: expected the output directory of a run, but ${await describeOther(folder)}`,
    );
  }
}

/**
 * Finds the runs that folders stand for, each once: runs, and folders with runs in them.
 *
 * @param mayBeGone whether a folder without a run is passed over: it had some, and may have them again
 * @throws {UserError} that names the first folder without a run
 */
export async function findAllRuns(folders: readonly string[], mayBeGone = false): Promise<string[]> {
  const found: string[] = [];
  for (const folder of folders) {
    const runs = await findRuns(folder);
    if (runs.length === 0 && !mayBeGone) {
      throw new UserError(
        `${folder}: expected the output directory of a run, or a folder of runs, but ${await describeOther(
          folder,
        )}`,
      );
    }
    found.push(...runs);
  }
  return [...new Set(found)];
}

/**
 * Returns the newest run in a folder of runs.
 *
 * @throws {UserError} where there is none
 */
export async function newestRun(parent: string): Promise<string> {
  const [newest] = await findRuns(parent);
  if (newest !== undefined) return newest;
  throw new UserError(`no runs in ${parent} yet: give the output directory of a run`);
}
