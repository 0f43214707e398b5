/** Files that are there already are not replaced unless that is asked for. */
import { UserError } from "../../errors.ts";

/**
 * Looks at the files that a command is going to write.
 *
 * @param force whether they may be replaced
 * @throws {UserError} that names the first one that is there
 */
export async function requireNew(paths: readonly string[], force: boolean): Promise<void> {
  for (const path of force ? [] : paths) {
    const exists = await Deno.stat(path).then(() => true, () => false);
    if (exists) throw new UserError(`${path} is there already: use --force to replace it, or another name`);
  }
}
