/** Finds the folders of runs. */
import { join } from "node:path";
import { UserError } from "../../errors.ts";

/** What every run leaves, whatever came of it. */
const MARK = "config.json";

async function startOf(folder: string): Promise<number | undefined> {
  return (await Deno.stat(join(folder, MARK)).catch(() => undefined))?.mtime?.getTime();
}

/**
 * Makes sure that folders are of runs.
 *
 * @throws {UserError} that names the first one that is not
 */
export async function checkRunFolders(folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    if (await startOf(folder) !== undefined) continue;
    const stat = await Deno.stat(folder).catch(() => undefined);
    const found = stat === undefined
      ? "there is no such folder"
      : stat.isDirectory
      ? `there is no ${MARK} in it`
      : "it is a file";
    throw new UserError(`${folder}: expected the folder of a run (its --output), but ${found}`);
  }
}

/**
 * The newest run in a folder of runs.
 *
 * @throws {UserError} where there is none
 */
export async function newestRun(parent: string): Promise<string> {
  let newest: { folder: string; start: number } | undefined;
  const entries = await Array.fromAsync(Deno.readDir(parent)).catch(() => []);
  for (const { name, isDirectory } of entries) {
    if (!isDirectory) continue;
    const folder = join(parent, name);
    const start = await startOf(folder);
    if (start !== undefined && start > (newest?.start ?? -Infinity)) newest = { folder, start };
  }
  if (newest !== undefined) return newest.folder;
  throw new UserError(`there is no run in ${parent} yet: name the folder of one (its --output)`);
}
