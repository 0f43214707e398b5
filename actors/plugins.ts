/** Modules of other people's that register encoders, losses and augmentations. */
import { UserError } from "../errors.ts";

/** What to do about a short name that is not known: Deno reads one import map, that of the program, and no plugin's. */
function adviceOn(problem: string): string {
  return /not a dependency|not prefixed with/.test(problem)
    ? '; import "@seed/distillation/parts", and packages as npm:NAME@VERSION or jsr:@SCOPE/NAME@VERSION: the command ' +
      "line does not read the import map of a plugin's folder"
    : "";
}

/**
 * Imports modules into this Worker, or the main thread, so that what they register exists there.
 *
 * @param plugins texts of their URLs
 * @throws {UserError} that names the one that cannot be loaded
 */
export async function importPlugins(plugins: readonly string[] = []): Promise<void> {
  for (const plugin of plugins) {
    try {
      await import(plugin);
    } catch (error) {
      const [problem] = (error as Error).message.split("\n");
      throw new UserError(`cannot load plugin ${plugin}: ${problem}${adviceOn(problem)}`, {
        cause: error,
      });
    }
  }
}
