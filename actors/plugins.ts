/** Modules of other people's that register encoders, losses and augmentations. */
import { UserError } from "../errors.ts";

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
      throw new UserError(`the plugin ${plugin} cannot be loaded: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
}
