/** `--plugin`: a module of one's own whose encoders, losses and augmentations the flags may name. */
import { pathToFileURL } from "node:url";
import { importPlugins } from "../../actors/plugins.ts";
import { helpExtent, UsageError } from "./flags.ts";
import { callersFolder, resolvePath } from "./paths.ts";

/** The option that a flag's value stands for, the plugins as texts of their URLs; nothing where the flag is not given. */
export function pluginOption(
  value: string | undefined,
  folder: string = callersFolder(),
): { plugins?: string[] } {
  if (value === undefined) return {};
  return { plugins: [/^\w{2,}:/.test(value) ? value : pathToFileURL(resolvePath(value, folder)).href] };
}

/**
 * The plugin that a command line names, before its flags are read.
 *
 * @throws {UsageError} where the flag has no value, unless the command line asks for help
 */
export function pluginOf(args: readonly string[]): string | undefined {
  const at = args.findIndex((arg) => /^--?plugin(=|$)/.test(arg));
  if (at === -1) return undefined;
  const [, value = args[at + 1] ?? ""] = /=(.*)/s.exec(args[at]) ?? [];
  if (value !== "" && !value.startsWith("-")) return value;
  if (helpExtent(args) !== undefined) return undefined;
  throw new UsageError("--plugin has no value: expected the path or URL of a module");
}

/**
 * Loads the plugin that a command line names, before its flags are read: they are checked against what it registers.
 *
 * @throws {UserError} where it cannot be loaded, or is not named
 */
export async function loadPlugin(args: readonly string[]): Promise<void> {
  await importPlugins(pluginOption(pluginOf(args)).plugins);
}
