/**
 * `deno task test`: runs `deno test` on what it is given, passes everything on, and closes with the tests that were skipped,
 * by name and reason: those that are ignored, and those that found out when they ran (`skip()` of skip.ts). Files of a folder
 * run in groups (groups.ts), but each by itself where the long tests run too.
 *
 *     deno run -A tests/main.ts [flags, files and folders of deno test]
 */
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { findTestFiles, groupTestFiles, writeGroups } from "./groups.ts";
import { IS_LONG } from "./long.ts";
import { SKIPPED_FILE } from "./skip.ts";
import { describeSkipped, findIgnored, type SkippedTest } from "./skipped_tests.ts";
import { UNOPTIMIZED_KERNELS } from "./unoptimized_kernels.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const TESTS = join(ROOT, "tests/");
const GROUPS = join(TESTS, ".groups");

/** Whether an argument names a folder of tests. A name to filter by may be that of another folder: `--filter models`. */
function isTestFolder(argument: string): boolean {
  const path = resolve(ROOT, argument);
  try {
    return join(path, "/").startsWith(TESTS) && Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

const HELP = `Usage: deno task test [flags, files and folders of deno test]

Runs all tests but the long ones, and lists those that were skipped with the reason. docs/testing.md says more.

  --filter TEXT   only tests whose names contain this text
  --help          show this text; deno test --help lists the flags of deno test, which are passed on

To run one file or folder alone: deno run -A tests/main.ts -A --no-check tests/FOLDER
The other tasks: test:long, test:parity, test:mutants`;

if (Deno.args.some((argument) => argument === "--help" || argument === "-h")) {
  console.log(HELP);
  Deno.exit();
}

const folders = IS_LONG ? [] : Deno.args.filter(isTestFolder);
const groups = groupTestFiles(
  folders.flatMap((folder) => findTestFiles(resolve(ROOT, folder))),
  TESTS,
);
const others = Deno.args.filter((argument) => !folders.includes(argument));
const args = groups.length > 0 ? [...others, ...writeGroups(groups, GROUPS)] : others;

/** The text of a file, or nothing where there is none. */
function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}

/** The text of a test file and of what it imports from beside it: what decides that a test is long may be there. */
function textOf(file: string): string {
  const path = join(ROOT, file);
  const text = read(path);
  const imported = [...text.matchAll(/from "(\.\/[^"]+)"/g)].map(([, name]) =>
    read(join(dirname(path), name))
  );
  return [text, ...imported].join("\n");
}

/**
 * How many files or groups run at once: one more than there are processors, since some wait for a browser, a clock or another program.
 * What is set already stays.
 */
const JOBS: Record<string, string> = {
  DENO_JOBS: Deno.env.get("DENO_JOBS") ?? String(navigator.hardwareConcurrency + 1),
};

Deno.env.delete("SEED_NOHUP"); // a SIGHUP that a test sends is meant, also where nohup started all of this
const scratch = Deno.makeTempDirSync({ prefix: "seed_tests_" });
const [report, skippedFile] = ["report.xml", "skipped.jsonl"].map((name) => join(scratch, name));
Deno.writeTextFileSync(skippedFile, "");
const child = new Deno.Command(Deno.execPath(), {
  args: ["test", `--junit-path=${report}`, ...args],
  cwd: ROOT,
  env: { [SKIPPED_FILE]: skippedFile, ...(IS_LONG ? {} : { ...UNOPTIMIZED_KERNELS, ...JOBS }) },
}).spawn();
// Ctrl-C reaches the child by itself; this program stays for what it says then.
Deno.addSignalListener("SIGINT", () => {});
const { code } = await child.status;
const ignored = findIgnored(read(report), textOf, IS_LONG);
const foundOut = read(skippedFile).split("\n").filter((line) => line !== "").map((line): SkippedTest => {
  const [name, reason] = JSON.parse(line);
  return { name, reason };
});
Deno.removeSync(scratch, { recursive: true });
const line = describeSkipped([...ignored, ...foundOut]);
if (line !== undefined) console.log(line);
Deno.exit(code);
