/** The flags of `deno task inspect`. */
import type { FlagTable } from "../../methods/flag_table.ts";
import { HEADS_DEFAULT_NOTE, headsFlag, pluginFlag, weightsFlag } from "../../methods/shared_flags.ts";
import { helpExtent, helpFlag, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";

const TABLE = {
  weights: weightsFlag("What to list"),
  heads: headsFlag("What to list"),
  filter: {
    kind: "text",
    metavar: "TEXT",
    group: "What to list",
    help: "list only tensors and values whose names contain TEXT",
  },
  tensors: { kind: "boolean", group: "What to list", help: "list the tensors" },
  stats: {
    kind: "boolean",
    group: "What to list",
    help:
      "show the mean, standard deviation, minimum, maximum and number of NaN or infinite elements of each listed tensor",
  },
  plugin: pluginFlag("What to list"),
  json: { kind: "boolean", group: "Output", help: "print one JSON object" },
  help: helpFlag("Output"),
} as const satisfies FlagTable;

/** What the command line asks for. */
export type InspectCommand =
  | { help: string }
  | {
    help: undefined;
    path: string;
    /** What stands before the encoder's keys. */
    weights: string | undefined;
    /** Heads of a vision transformer. */
    heads: number | undefined;
    /** Text that names must have in them. */
    filter: string | undefined;
    tensors: boolean;
    stats: boolean;
    json: boolean;
  };

/** The text of `deno task inspect --help`. */
export function inspectHelp(width?: number): string {
  return formatHelp({
    usage: "deno task inspect [flags] FILE     (or ./seed inspect [flags] FILE)",
    intro: [
      "Describes a checkpoint: its container, the program that wrote it, its encoders and their heads, its epoch, " +
      "its tensors with their shapes, and what else was saved. No code in the file is executed.",
      "FILE is a PyTorch (zip or legacy) or safetensors file from MoCo, SimCLR, SWAV, DINO, SEED, torchvision or any other " +
      "program.",
    ],
    table: TABLE,
    defaults: {
      weights: "default: every encoder",
      heads: HEADS_DEFAULT_NOTE,
      filter: "default: all",
      tensors: "default: on",
      plugin: "default: none",
    },
    width,
  });
}

/**
 * Reads the command line of `deno task inspect`. Looks at no file.
 *
 * @param folder that relative paths start from; the caller's by default
 * @throws {UsageError} for a flag that is unknown or wrong
 */
export function parseInspectFlags(
  args: readonly string[],
  { folder = callersFolder(), width }: { folder?: string; width?: number } = {},
): InspectCommand {
  if (helpExtent(args) !== undefined) return { help: inspectHelp(width) };
  const { values, positionals: [path] } = parseFlags(TABLE, args, { positionals: 1 });
  if (path === undefined) {
    throw new UsageError("no file given: expected deno task inspect [flags] FILE");
  }
  const { weights, heads, filter, tensors = true, stats = false, json = false } = values;
  if (stats && !tensors) throw new UsageError("--stats needs the list of tensors: leave out --no-tensors");
  return { help: undefined, path: resolvePath(path, folder), weights, heads, filter, tensors, stats, json };
}
