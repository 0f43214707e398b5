/** The commands in the documentation are read by the real parsers, and its links lead somewhere. */
import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseBenchFlags } from "../../bench/bench_flags.ts";
import { parseLearningFlags } from "../../bench/learning.ts";
import { parsePaperFlags } from "../../bench/paper_flags.ts";
import { parseReliabilityFlags } from "../../bench/reliability.ts";
import { modelsOutput } from "../../cli/commands/models.ts";
import { encoderNames, teacherNames } from "../../models/registry.ts";
import { commandsOf, PAGES, read } from "./commands.ts";
import { ROOT } from "./snippets.ts";

const CONFIG = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.json")));

/** What the parsers depend on besides the arguments. */
const CONTEXT = { encoders: encoderNames(), teachers: teacherNames(), folder: "/" };

/** What `cli/flags/TASK_flags.ts` makes of a task's arguments. */
type Parse = (args: string[], context: typeof CONTEXT) => { help?: string; warnings?: readonly string[] };

/** What reads each task's flags; a task that is not here takes none. */
const PARSERS = new Map<string, Parse>();
for (const { name } of Deno.readDirSync(join(ROOT, "cli/flags"))) {
  const [, task] = /^(\w+)_flags\.ts$/.exec(name) ?? [];
  if (task === undefined || !Object.hasOwn(CONFIG.tasks, task)) continue;
  const module = await import(pathToFileURL(join(ROOT, "cli/flags", name)).href);
  const [parser] = Object.keys(module).filter((key) => /^parse\w+Flags$/.test(key));
  PARSERS.set(task, module[parser]);
}
PARSERS.set("bench", (args) => {
  parseBenchFlags(args);
  return {};
});
PARSERS.set("bench:learning", parseLearningFlags);
PARSERS.set("bench:paper", parsePaperFlags);
PARSERS.set("bench:reliability", parseReliabilityFlags);
PARSERS.set("models", (args) => ({ help: modelsOutput(args) }));

/** What the tasks of `bench/` that the pages name are given. */
const WITHOUT_PARSER: Readonly<Record<string, string[]>> = {
  "images": ["OUTPUT"],
};

for (const page of PAGES) {
  Deno.test(`${page}: every command is of a task that exists, and its flags are read without a warning`, () => {
    for (const { text, task, args, isWhole } of commandsOf(page)) {
      if (/^(--deno|--mpi|TASK)$/.test(task)) continue;
      assert(Object.hasOwn(CONFIG.tasks, task), `${text}: there is no task "${task}"`);
      const parse = PARSERS.get(task);
      if (parse === undefined) {
        assertEquals(args, WITHOUT_PARSER[task] ?? [], `${text}: the task takes no flags`);
      } else if (isWhole || args.length > 0) {
        try {
          assertEquals(parse(args, CONTEXT).warnings ?? [], [], text);
        } catch (error) {
          throw new Error(`${text}: ${(error as Error).message}`, { cause: error });
        }
      }
    }
  });

  Deno.test(`${page}: every flag that its text names is one of some task`, () => {
    const text = read(page).replaceAll(/^```[^]*?^```$/gm, "").replaceAll(/^ {4}.*$/gm, "");
    const named = new Set([...text.matchAll(/`(--[a-z][\w-]*)/g)].map(([, flag]) => flag));
    for (const flag of named) assert(isKnown(flag), `${flag} is no flag of any task`);
  });

  Deno.test(`${page}: what it links to is there`, () => {
    // Footnotes of tables and code have brackets too.
    const text = read(page).replaceAll(/^```[^]*?^```$/gm, "").replaceAll(/`[^`\n]*`/g, "");
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [path, anchor] = target.split("#");
      const linked = path === "" ? page : join(dirname(page), path);
      assert(exists(linked), `${page} links to ${target}, which is not there`);
      if (anchor !== undefined) {
        assert(anchorsOf(linked).has(anchor), `${page} links to ${target}: no such heading`);
      }
    }
  });

  Deno.test(`${page}: the files of the checkout that it names are there`, () => {
    const text = read(page).replaceAll(/^```[^]*?^```$/gm, "");
    const places = /`((?:actors|bench|cli|data|examples|kernels|links|methods|models|tests|ui)\/[\w./-]+)`/g;
    for (const [, path] of text.matchAll(places)) {
      const isMade = read(page).includes(`// ${path}\n`) || NOT_THERE.has(path);
      assert(isMade || exists(path), `${page} names ${path}, which is not there`);
    }
  });
}

/** What docs/extending.md says a file would be called. */
const NOT_THERE = new Set(["actors/duplicate_finder.ts"]);

/** Flags of other programs, and what stands for a flag. */
const FOREIGN = ["--v8-flags", "--logdir", "--allow-", "--lint", "--check"];

/** Flags of the original's scripts, which are taken and have no effect. */
const ORIGINAL = [
  ...[
    "--info",
    "--local_rank",
    "--distributed",
    "--gpu",
    "--world-size",
    "--rank",
    "--dist-url",
    "--dist-backend",
  ],
  "--multiprocessing-distributed",
];

/** Flags of mpirun, srun and container engines. */
const LAUNCHERS = ["--bind-to", "--gpus-per-task", "--gpus", "--ntasks-per-node"];

let helps: string | undefined;

function isKnown(flag: string): boolean {
  helps ??= [...PARSERS.values()].map((parse) => parse(["--help=all"], CONTEXT).help).join("\n");
  const name = flag.replaceAll("_", "-");
  if ([...FOREIGN, ...ORIGINAL, ...LAUNCHERS].some((other) => isSame(other, flag))) return true;
  if (["--deno", "--mpi"].includes(name)) return true; // of ./seed itself
  const plain = name.replace(/^--(no-)?/, "");
  return new RegExp(`--(\\[no-\\])?${plain}(?![\\w-])`).test(helps);
}

/** Whether a flag is one of another program; of Deno's permissions there are many. */
function isSame(other: string, flag: string): boolean {
  return other.endsWith("-") ? flag.startsWith(other) : flag === other;
}

function exists(path: string): boolean {
  try {
    Deno.statSync(join(ROOT, path));
    return true;
  } catch {
    return false;
  }
}

/** Where a page can be linked to: its headings, as GitHub names them. */
function anchorsOf(page: string): Set<string> {
  const text = read(page).replaceAll(/^```[^]*?^```$/gm, "");
  return new Set(
    [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading.toLowerCase().replaceAll(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-")
    ),
  );
}
