/** `--plugin`: a module of one's own whose encoders, losses and augmentations the flags may name. */
import { pathToFileURL } from "node:url";
import { importPlugins } from "../../actors/plugins.ts";
import { callersFolder, resolvePath } from "./paths.ts";

/** The option that a flag's value stands for, the plugins as texts of their URLs; nothing where the flag is not given. */
export function pluginOption(
  value: string | undefined,
  folder: string = callersFolder(),
): { plugins?: string[] } {
  if (value === undefined) return {};
  return { plugins: [/^\w{2,}:/.test(value) ? value : pathToFileURL(resolvePath(value, folder)).href] };
}

/** The plugin that a command line names, before its flags are read. */
export function pluginOf(args: readonly string[]): string | undefined {
  const at = args.findIndex((arg) => /^--?plugin(=|$)/.test(arg));
  if (at === -1) return undefined;
  return args[at].includes("=") ? args[at].slice(args[at].indexOf("=") + 1) : args[at + 1];
}

/**
 * Loads the plugin that a command line names, before its flags are read: they are checked against what it registers.
 *
 * @throws {UserError} where it cannot be loaded
 */
export async function loadPlugin(args: readonly string[]): Promise<void> {
  await importPlugins(pluginOption(pluginOf(args)).plugins);
}
