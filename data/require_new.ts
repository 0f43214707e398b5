/** Files that are there already are not replaced unless that is asked for. */
import { UserError } from "../errors.ts";

/** Whether there is anything at a path, a link to nothing included. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    // What else is wrong with the path, writing it will tell.
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw new UserError(`${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * Looks at the files that a task is going to write.
 *
 * @param force whether they may be replaced
 * @throws {UserError} that names the first one that is there
 */
export async function requireNew(paths: readonly string[], force: boolean): Promise<void> {
  for (const path of force ? [] : paths) {
    if (!await isThere(path)) continue;
    throw new UserError(`${path} already exists: use --force to replace it, or another name`);
  }
}
