/** Modules of other people's that register encoders, losses and augmentations. */
import { UserError } from "../errors.ts";
import { requireModuleUrl } from "./module_url.ts";
import { findPluginImports, importByMap } from "./plugin_imports.ts";

/** What to do about a short name that is not known. */
function adviceOn(problem: string): string {
  return /not a dependency|not prefixed with/.test(problem)
    ? '; import "@seed/distillation/parts", and packages by npm:NAME@VERSION or jsr:@SCOPE/NAME@VERSION, or name them in ' +
      "the imports of a deno.json in the plugin's folder or above"
    : "";
}

/**
 * Makes sure that a program's plugins are an array of absolute URLs.
 *
 * @throws {UserError} that names the first one that is not
 */
export function checkPlugins(plugins: readonly string[]): void {
  if (!Array.isArray(plugins)) {
    throw new UserError(`plugins: expected an array of URLs, found ${Deno.inspect(plugins)}`);
  }
  for (const [i, plugin] of plugins.entries()) requireModuleUrl(`plugins[${i}]`, plugin);
}

/** What {@linkcode importPlugins} was given on this thread. */
const given = new Set<string>();

/** Returns the plugins given on this thread, as texts of their URLs. */
export function givenPlugins(): string[] {
  return [...given];
}

/** Returns the first plugin given on this thread that is in the stack of an error or of its causes. */
export function pluginInStack(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause === cause ? undefined : cause.cause) {
    const frames = (cause.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
    for (const plugin of given) if (frames.some((frame) => frame.includes(`${plugin}:`))) return plugin;
  }
}

/**
 * Imports modules into this Worker, or the main thread, so that what they register exists there.
 *
 * @param plugins texts of their URLs
 * @throws {UserError} that names the one that cannot be loaded
 */
export async function importPlugins(plugins: readonly string[] = []): Promise<void> {
  for (const plugin of plugins) {
    given.add(plugin);
    try {
      const imports = findPluginImports(plugin);
      if (imports === undefined) await import(plugin);
      else await importByMap(plugin, imports);
    } catch (error) {
      const [problem] = (error as Error).message.split("\n");
      throw new UserError(`cannot load plugin ${plugin}: ${problem}${adviceOn(problem)}`, {
        cause: error,
      });
    }
  }
}

/** Returns what a Worker is to import for these plugins, as its system's `imports`. */
export function workerImports(plugins: readonly string[] = []): string[] {
  const loader = import.meta.resolve("./plugin_loader.ts");
  return plugins.map((plugin) =>
    findPluginImports(plugin) === undefined ? plugin : `${loader}#${encodeURIComponent(plugin)}`
  );
}
