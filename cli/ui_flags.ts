/** The flags of `deno task ui` and `deno task compare`: what looks at runs' folders. */
import { join } from "node:path";
import { DEFAULT_PORT, LOOPBACK } from "../ui/page_address.ts";
import { type FlagsContext, type FlagTable, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";

/** Runs that fit on one page. */
const MOST_RUNS = 20;

const HELP = { kind: "boolean", short: "h", group: "Other", help: "show this text" } as const;

const UI_TABLE = {
  port: {
    kind: "integer",
    min: 0,
    max: 65535,
    short: "p",
    group: "Address",
    help: "port of the page; 0 for any that is free",
  },
  host: {
    kind: "text",
    metavar: "ADDRESS",
    group: "Address",
    help:
      "address of the page: 0.0.0.0 is every network that this machine is in, where all may look who can reach it",
  },
  help: HELP,
} as const satisfies FlagTable;

const COMPARE_TABLE = {
  plot: {
    kind: "text",
    metavar: "FILE",
    short: "o",
    group: "Output",
    help: "where the page with all curves goes, one file that needs nothing else",
  },
  json: {
    kind: "boolean",
    group: "Output",
    help: "one JSON object, for programs, and no page unless --plot says so",
  },
  help: HELP,
} as const satisfies FlagTable;

/** What the command line of `deno task ui` asks for. */
export type UiCommand =
  | { help: string }
  | { help: undefined; folders: string[]; port: number; hostname: string };

/** What the command line of `deno task compare` asks for. */
export type CompareCommand =
  | { help: string }
  | { help: undefined; folders: string[]; plot: string | undefined; json: boolean };

/** The text of `deno task ui --help`. */
export function uiHelp(width?: number): string {
  return formatHelp({
    usage: "deno task ui [flags] [OUTPUT ...]     (or ./seed ui [flags] [OUTPUT ...])",
    intro: [
      "Shows runs on a page, from what they leave in their folders: curves, actors, a batch as the student sees it, what " +
      "teacher and student find alike, settings. It follows runs that are still going on, of which it need not be told " +
      "anything, and ends with Ctrl-C.",
      "OUTPUT is the folder of a run, or several to be laid over each other; the newest run in output/ where none is " +
      "given.",
    ],
    table: UI_TABLE,
    defaults: {
      port: `default: ${DEFAULT_PORT}, or the next free one`,
      host: `default: ${LOOPBACK}, this machine only`,
    },
    width,
  });
}

/** The text of `deno task compare --help`. */
export function compareHelp(width?: number): string {
  return formatHelp({
    usage: "deno task compare [flags] OUTPUT OUTPUT ...     (or ./seed compare [flags] OUTPUT OUTPUT ...)",
    intro: [
      "Prints runs side by side: how they ended, what came of them, their losses, and the settings that are not the same; " +
      "and writes a page with their curves over each other.",
      "OUTPUT is the folder of a run, finished or not.",
    ],
    table: COMPARE_TABLE,
    defaults: { plot: "default: compare.html in the folder that you are in" },
    width,
  });
}

function wantsHelp(args: readonly string[]): boolean {
  return args.some((arg) => arg === "--help" || arg === "-h");
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
  if (wantsHelp(args)) return { help: uiHelp(width) };
  const { values, positionals } = parseFlags(UI_TABLE, args, { positionals: MOST_RUNS });
  const { port = DEFAULT_PORT, host: hostname = LOOPBACK } = values;
  return { help: undefined, folders: positionals.map((path) => resolvePath(path, folder)), port, hostname };
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
  if (wantsHelp(args)) return { help: compareHelp(width) };
  const { values, positionals } = parseFlags(COMPARE_TABLE, args, { positionals: MOST_RUNS });
  if (positionals.length === 0) {
    throw new UsageError(
      "there is nothing to compare: expected deno task compare OUTPUT OUTPUT ..., the folders of runs",
    );
  }
  const { json = false, plot = json ? undefined : "compare.html" } = values;
  return {
    help: undefined,
    folders: positionals.map((path) => resolvePath(path, folder)),
    plot: plot === undefined ? undefined : resolvePath(plot, folder),
    json,
  };
}

/** The folder that runs write to where nothing else is said. */
export function usualOutput(folder: string = callersFolder()): string {
  return join(folder, "output");
}
