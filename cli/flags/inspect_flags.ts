/** The flags of `deno task inspect`. */
import type { FlagTable } from "../../methods/flag_table.ts";
import { pluginFlag, weightsFlag } from "../../methods/shared_flags.ts";
import { helpExtent, helpFlag, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";

const TABLE = {
  weights: weightsFlag("What is listed"),
  filter: {
    kind: "text",
    metavar: "TEXT",
    group: "What is listed",
    help: "list only tensors and values with this in their name",
  },
  tensors: { kind: "boolean", group: "What is listed", help: "list the tensors" },
  stats: {
    kind: "boolean",
    group: "What is listed",
    help:
      "read the tensors that are listed and show mean, standard deviation, least and largest value of each, and how " +
      "many elements are NaN or infinite",
  },
  plugin: pluginFlag("What is listed"),
  json: { kind: "boolean", group: "Output", help: "one JSON object, for programs" },
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
      "Says what a checkpoint is: its container, who wrote it, which encoders it holds and with which heads, its epoch, " +
      "its tensors with their shapes, and what was saved beside them. Nothing in the file is executed.",
      "FILE is a PyTorch file (zip or legacy) or safetensors, of MoCo, SimCLR, SWAV, SEED, torchvision or any other " +
      "program.",
    ],
    table: TABLE,
    defaults: {
      weights: "default: every encoder",
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
    throw new UsageError("there is nothing to inspect: expected deno task inspect [flags] FILE");
  }
  const { weights, filter, tensors = true, stats = false, json = false } = values;
  if (stats && !tensors) throw new UsageError("--stats is shown with the tensors: leave --no-tensors out");
  return { help: undefined, path: resolvePath(path, folder), weights, filter, tensors, stats, json };
}
