/** The flags of `deno task bench`. */
import { parseArgs } from "@std/cli/parse-args";
import { UsageError } from "../cli/flags/flags.ts";
import { readCount, refuseUnknown } from "./flags.ts";
import { SECTION_ORDER } from "./report.ts";

/** What the flags say. */
interface BenchCommand {
  help: boolean;
  /** Names of the sections that are run. */
  names: readonly string[];
  rounds: number;
  /** Keep no results in the tree. */
  dryRun: boolean;
  /** Measure nothing, and write the document of what is kept. */
  rewrite: boolean;
}

/**
 * Reads the flags of `deno task bench`.
 *
 * @throws {UsageError} for a flag or a section that there is not, or a value that it does not take
 */
export function parseBenchFlags(args: string[]): BenchCommand {
  const flags = parseArgs(args, {
    string: ["rounds", "_"],
    boolean: ["help", "dry-run", "rewrite"],
    default: { rounds: "5" },
    unknown: refuseUnknown("bench", { takesNames: true }),
  });
  const names = flags._ as string[];
  const unknown = names.find((name) => !SECTION_ORDER.includes(name));
  if (unknown !== undefined && !flags.help) {
    throw new UsageError(`there is no section "${unknown}"; deno task bench --help lists them`);
  }
  if (flags.rewrite && (names.length > 0 || flags["dry-run"])) {
    throw new UsageError("--rewrite measures nothing: expected no sections and no --dry-run beside it");
  }
  return {
    help: flags.help,
    names: names.length === 0 ? SECTION_ORDER : names,
    rounds: readCount("--rounds", flags.rounds),
    dryRun: flags["dry-run"],
    rewrite: flags.rewrite,
  };
}
