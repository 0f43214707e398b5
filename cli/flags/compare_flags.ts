/** The flags of `deno task compare`. */
import type { FlagTable } from "../../methods/flag_table.ts";
import { GENERAL } from "../../methods/shared_flags.ts";
import { type FlagsContext, helpExtent, helpFlag, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";
import { MOST_RUNS } from "./ui_flags.ts";

const TABLE = {
  plot: {
    kind: "text",
    metavar: "FILE",
    short: "o",
    group: "Output",
    help: "write a self-contained HTML page with all curves to this file",
  },
  force: { kind: "boolean", group: "Output", help: "replace an existing file" },
  json: { kind: "boolean", group: "Output", help: "print one JSON object" },
  help: helpFlag(GENERAL),
} as const satisfies FlagTable;

/** What the command line of `deno task compare` asks for. */
export type CompareCommand =
  | { help: string }
  | { help: undefined; folders: string[]; plot: string | undefined; force: boolean; json: boolean };

/** The text of `deno task compare --help`. */
export function compareHelp(width?: number): string {
  return formatHelp({
    usage: "deno task compare [flags] OUTPUT OUTPUT ...     (or ./seed compare [flags] OUTPUT OUTPUT ...)",
    intro: [
      "Compares runs side by side: status, results, losses, and the settings that differ. With --plot, it also draws " +
      "their curves together.",
      "OUTPUT is the output directory of a run, finished or not.",
    ],
    table: TABLE,
    defaults: {},
    width,
  });
}

/**
 * Reads the command line of `deno task compare`. Looks at no file.
 *
 * @throws {UsageError} for a flag that is unknown or wrong, and where no run is named
 */
export function parseCompareFlags(
  args: readonly string[],
  { folder = callersFolder(), width }: FlagsContext = {},
): CompareCommand {
  if (helpExtent(args) !== undefined) return { help: compareHelp(width) };
  const { values, positionals } = parseFlags(TABLE, args, { positionals: MOST_RUNS });
  if (positionals.length === 0) {
    throw new UsageError(
      "no runs given: expected deno task compare OUTPUT OUTPUT ..., the output directories of runs",
    );
  }
  const { json = false, force = false, plot } = values;
  return {
    help: undefined,
    folders: positionals.map((path) => resolvePath(path, folder)),
    plot: plot === undefined ? undefined : resolvePath(plot, folder),
    force,
    json,
  };
}
