/** The flags of `deno task doctor`. */
import { type FlagTable, parseFlags } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";

const TABLE = {
  data: { kind: "text", metavar: "DATA", group: "What is looked at", help: "pictures to learn from" },
  distill: { kind: "text", metavar: "FILE", group: "What is looked at", help: "the teacher's checkpoint" },
  output: {
    kind: "text",
    metavar: "DIR",
    short: "o",
    group: "What is looked at",
    help: "where a run will write to",
  },
  json: { kind: "boolean", group: "Output", help: "an array of objects, for programs" },
  help: { kind: "boolean", short: "h", group: "Output", help: "show this text" },
} as const satisfies FlagTable;

/** What is looked at. */
export interface DoctorRequest {
  /** `null` for the bundled ones. */
  data: string | null;
  /** `null` for the bundled one. */
  distill: string | null;
  output: string;
}

/** What the command line asks for. */
export type DoctorCommand = { help: string } | { help: undefined; request: DoctorRequest; json: boolean };

/**
 * Reads the command line of `deno task doctor`.
 *
 * @param folder that relative paths start from; the caller's by default
 * @throws {UsageError} for a flag that is unknown or wrong
 */
export function parseDoctorFlags(
  args: readonly string[],
  { folder = callersFolder(), width }: { folder?: string; width?: number } = {},
): DoctorCommand {
  if (args.some((arg) => arg === "--help" || arg === "-h")) {
    const help = formatHelp({
      usage: "deno task doctor [flags]     (or ./seed doctor [flags])",
      intro: [
        "Looks at everything that a run needs: Deno, the adapter and its limits, memory, disk, pictures and the teacher's " +
        "checkpoint, and says what to do about each problem. Nothing is changed. The exit code is 1 where a run would fail.",
      ],
      table: TABLE,
      defaults: {
        data: "default: the bundled pictures",
        distill: "default: the bundled teacher",
        output: "default: output/",
      },
      width,
    });
    return { help };
  }
  const { values } = parseFlags(TABLE, args);
  const path = (given: string | undefined) => given === undefined ? null : resolvePath(given, folder);
  const request = {
    data: path(values.data),
    distill: path(values.distill),
    output: resolvePath(values.output ?? "output", folder),
  };
  return { help: undefined, request, json: values.json ?? false };
}
