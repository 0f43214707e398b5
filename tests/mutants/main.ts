/**
 * `deno task test:mutants`: makes each mutant in a copy of the tree, runs the tests that are to see it, and says how many
 * were killed, and which survived. What is known already is kept in `output/mutants.json` and not done again.
 */
import { parseArgs } from "@std/cli/parse-args";
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { readCount, refuseUnknown } from "../../bench/flags.ts";
import { UsageError } from "../../cli/flags/flags.ts";
import { runMain } from "../../cli/terminal/run_main.ts";
import { REFERENCE } from "../reference.ts";
import { UNOPTIMIZED_KERNELS } from "../unoptimized_kernels.ts";
import { type Mutant, MUTANTS } from "./mutants.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const RESULTS = join(ROOT, "output", "mutants.json");

/** A test that takes longer than this hangs, which kills a mutant too. */
const PATIENCE_MS = 10 * 60_000;

/** What became of a mutant; `unfit`: its tests fail without it too. */
type Outcome = "killed" | "survived" | "unfit";

/** By {@linkcode nameOf}, or of tests without any mutant. */
type Results = Record<string, Outcome>;

function nameOf({ file, from, to }: Mutant): string {
  return `${file}: ${JSON.stringify(from)} -> ${JSON.stringify(to)}`;
}

/** The tests of a mutant, one run after the other. */
function runsOf({ tests, only }: Pick<Mutant, "tests" | "only">): string[][] {
  return tests.map((test) => [join("tests", test), ...only === undefined ? [] : ["--filter", only]]);
}

function readResults(): Results {
  try {
    return JSON.parse(Deno.readTextFileSync(RESULTS));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    throw error;
  }
}

function writeResults(results: Results): void {
  Deno.mkdirSync(dirname(RESULTS), { recursive: true });
  Deno.writeTextFileSync(RESULTS, JSON.stringify(results, null, 2) + "\n");
}

/** A copy of the tree has no reference beside it, without which tests look at nothing. */
const ENVIRONMENT = { NO_COLOR: "1", SEED_REFERENCE: fileURLToPath(REFERENCE), ...UNOPTIMIZED_KERNELS };

async function output(command: string, args: string[], cwd: string, signal?: AbortSignal) {
  return await new Deno.Command(command, {
    args,
    cwd,
    signal,
    stdin: "null",
    env: ENVIRONMENT,
  }).output();
}

/** Copies what git knows of, and what it would take in, into a new folder. */
async function copyTree(): Promise<string> {
  const folder = Deno.makeTempDirSync({ prefix: "seed_mutants_" });
  const listed = await output("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT);
  for (const name of new TextDecoder().decode(listed.stdout).split("\0").filter((name) => name !== "")) {
    const path = join(ROOT, name);
    if (!Deno.lstatSync(path).isFile) continue;
    Deno.mkdirSync(dirname(join(folder, name)), { recursive: true });
    Deno.copyFileSync(path, join(folder, name));
  }
  return folder;
}

/** Whether some tests pass in a tree. Types are not checked: a mutant is to be seen by what it does. */
async function passes(tree: string, run: string[]): Promise<boolean> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const { success } = await output(
    Deno.execPath(),
    ["test", "--quiet", "-A", "--no-check", "--fail-fast", ...run],
    tree,
    signal,
  );
  return success;
}

async function passesAll(
  tree: string,
  runs: string[][],
  results: Results,
  isWhole: boolean,
): Promise<boolean> {
  for (const run of runs) {
    // A test that has changed has to pass anew.
    const digest = createHash("sha256").update(Deno.readTextFileSync(join(tree, run[0]))).digest("hex");
    const name = `without, ${digest.slice(0, 8)}: ${run.join(" ")}`;
    if (isWhole && results[name] === "survived") continue;
    const isGood = await passes(tree, run);
    if (isWhole) results[name] = isGood ? "survived" : "unfit";
    if (!isGood) return false;
  }
  return true;
}

/** Makes a mutant, and undoes it. */
async function tryMutant(tree: string, mutant: Mutant, results: Results): Promise<Outcome> {
  const path = join(tree, mutant.file);
  const whole = Deno.readTextFileSync(path);
  const parts = whole.split(mutant.from);
  if (parts.length !== 2) {
    throw new Error(
      `${mutant.file}: ${JSON.stringify(mutant.from)} stands there ${parts.length - 1} times, not once`,
    );
  }
  const runs = runsOf(mutant);
  if (!await passesAll(tree, runs, results, true)) return "unfit";
  Deno.writeTextFileSync(path, parts.join(mutant.to));
  try {
    return await passesAll(tree, runs, results, false) ? "survived" : "killed";
  } finally {
    Deno.writeTextFileSync(path, whole);
  }
}

const HELP = `Usage: deno task test:mutants [options]

Makes each mutant in a copy of the tree, runs the tests that are to see it, and lists those that survived: hours for all.
Results are kept in output/mutants.json, so the same command goes on where it was stopped.

  --filter TEXT   only mutants whose file or change contains this text
  --limit N       at most N mutants, of those without a result
  --again         also mutants that have a result
  --list          list the mutants with their results, and make none`;

/** What the flags say. */
interface MutantsCommand {
  help?: undefined;
  filter?: string;
  limit?: number;
  again: boolean;
  list: boolean;
}

/**
 * Reads the flags of `deno task test:mutants`.
 *
 * @throws {UsageError} for a flag that there is not, or a value that it does not take
 */
export function parseMutantsFlags(args: string[]): MutantsCommand | { help: string } {
  const { help, filter, limit, again, list } = parseArgs(args, {
    string: ["filter", "limit"],
    boolean: ["help", "again", "list"],
    unknown: refuseUnknown("test:mutants"),
  });
  if (help) return { help: HELP };
  if (filter === "") throw new UsageError("--filter: expected a text, found nothing");
  return { filter, limit: limit === undefined ? undefined : readCount("--limit", limit), again, list };
}

async function main(): Promise<number> {
  const command = parseMutantsFlags(Deno.args);
  if (command.help !== undefined) {
    console.log(command.help);
    return 0;
  }
  const { filter, limit, again, list } = command;
  const chosen = MUTANTS.filter((mutant) => filter === undefined || nameOf(mutant).includes(filter));
  const results = readResults();
  if (list) {
    for (const mutant of chosen) {
      console.log(`${(results[nameOf(mutant)] ?? "-").padEnd(9)} ${nameOf(mutant)}`);
    }
    return 0;
  }
  const wanted = chosen.filter((mutant) => again || !["killed", "survived"].includes(results[nameOf(mutant)]))
    .slice(0, limit);
  if (wanted.length > 0) {
    const tree = await copyTree();
    try {
      for (const mutant of wanted) {
        const outcome = await tryMutant(tree, mutant, results);
        results[nameOf(mutant)] = outcome;
        writeResults(results);
        console.log(`${outcome.padEnd(9)} ${nameOf(mutant)}`);
      }
    } finally {
      Deno.removeSync(tree, { recursive: true });
    }
  }
  const made = chosen.filter((mutant) => results[nameOf(mutant)] !== undefined);
  const withOutcome = (outcome: Outcome) => made.filter((mutant) => results[nameOf(mutant)] === outcome);
  for (const mutant of withOutcome("unfit")) {
    console.log(`tests fail without it: ${nameOf(mutant)} (${mutant.tests.join(", ")})`);
  }
  for (const mutant of withOutcome("survived")) console.log(`survived: ${nameOf(mutant)}`);
  const killed = withOutcome("killed").length;
  const left = chosen.length - made.length;
  console.log(`${killed} of ${made.length} mutants killed${left === 0 ? "" : `; ${left} not made yet`}`);
  return killed === made.length ? 0 : 1;
}

if (import.meta.main) await runMain(main);
