/** The flags of `deno task ui`. */
import { join } from "node:path";
import { DEFAULT_PORT, LOOPBACK } from "../../ui/page_address.ts";
import type { FlagTable } from "../../methods/flag_table.ts";
import { GENERAL } from "../../methods/shared_flags.ts";
import { type FlagsContext, helpExtent, helpFlag, parseFlags } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";

/** Folders that can be named. */
export const MOST_RUNS = 20;

const UI_TABLE = {
  port: {
    kind: "integer",
    min: 0,
    max: 65535,
    short: "p",
    group: "Address",
    help: "port of the page; 0 for any free port",
  },
  host: {
    kind: "text",
    metavar: "ADDRESS",
    group: "Address",
    help: "address to serve the page on; 0.0.0.0 for everyone on this machine's networks",
  },
  help: helpFlag(GENERAL),
} as const satisfies FlagTable;

/** What the command line of `deno task ui` asks for. */
export type UiCommand =
  | { help: string }
  | { help: undefined; folders: string[]; port: number; hostname: string };

/** The text of `deno task ui --help`. */
export function uiHelp(width?: number): string {
  return formatHelp({
    usage: "deno task ui [flags] [OUTPUT ...]     (or ./seed ui [flags] [OUTPUT ...])",
    intro: [
      "Serves a page that shows runs from their output directories: curves, actors, a batch as the student sees it, " +
      "nearest neighbours by teacher and student, and settings. It follows active runs without any setup. Stop it with " +
      "Ctrl-C.",
      "OUTPUT is the output directory of a run, or a folder of runs; several can be given. The page lists all runs, " +
      "including those that start later, to search, sort and compare. Without OUTPUT, it shows the newest run in output/.",
    ],
    table: UI_TABLE,
    defaults: {
      port: `default: ${DEFAULT_PORT}, or the next free one`,
      host: `default: ${LOOPBACK}, this machine only`,
    },
    width,
  });
}

/**
 * Reads the command line of `deno task ui`. Looks at no file.
 *
 * @throws {UsageError} for a flag that is unknown or wrong
 */
export function parseUiFlags(
  args: readonly string[],
  { folder = callersFolder(), width }: FlagsContext = {},
): UiCommand {
  if (helpExtent(args) !== undefined) return { help: uiHelp(width) };
  const { values, positionals } = parseFlags(UI_TABLE, args, { positionals: MOST_RUNS });
  const { port = DEFAULT_PORT, host: hostname = LOOPBACK } = values;
  return { help: undefined, folders: positionals.map((path) => resolvePath(path, folder)), port, hostname };
}

/** The folder that runs write to where nothing else is said. */
export function usualOutput(folder: string = callersFolder()): string {
  return join(folder, "output");
}
