/** The commands in the documentation are read by the real parsers, its links lead somewhere, and the tutorial's commands run. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { delimiter, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { modelsOutput } from "../../cli/models.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import { ENCODERS, teacherNames } from "../../models/registry.ts";
import { SAMPLE_TEACHER } from "../../data/sample.ts";
import { RunFolder } from "../actors/small_run.ts";
import { ROOT, writeSnippets } from "./snippets.ts";

const CONFIG = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.json")));

const PAGES = [
  "README.md",
  ...[...Deno.readDirSync(join(ROOT, "docs"))].map(({ name }) => name).filter((name) => name.endsWith(".md"))
    .sort().map((name) => `docs/${name}`),
];

function read(page: string): string {
  return Deno.readTextFileSync(join(ROOT, page));
}

/** What the parsers depend on besides the arguments. */
const CONTEXT = { encoders: ENCODERS.map(({ name }) => name), teachers: teacherNames(), folder: "/" };

/** What `cli/TASK_flags.ts` makes of a task's arguments. */
type Parse = (args: string[], context: typeof CONTEXT) => { help?: string; warnings?: readonly string[] };

/** What reads each task's flags; a task that is not here takes none. */
const PARSERS = new Map<string, Parse>();
for (const { name } of Deno.readDirSync(join(ROOT, "cli"))) {
  const [, task] = /^(\w+)_flags\.ts$/.exec(name) ?? [];
  if (task === undefined || !Object.hasOwn(CONFIG.tasks, task)) continue;
  const module = await import(pathToFileURL(join(ROOT, "cli", name)).href);
  const [parser] = Object.keys(module).filter((key) => /^parse\w+Flags$/.test(key));
  PARSERS.set(task, module[parser]);
}
PARSERS.set("models", (args) => ({ help: modelsOutput(args) }));

/** What the tasks of `bench/` that the pages name are given. */
const WITHOUT_PARSER: Readonly<Record<string, string[]>> = {
  "pictures": ["OUTPUT"],
  "bench:learning": ["--seeds", "3"],
};

/** A command of a page: one that stands in a line of its own, or in the text between backticks. */
interface Command {
  /** As it is written, its lines joined. */
  text: string;
  task: string;
  args: string[];
  /** Whether it is to be typed as it is, and not only named. */
  isWhole: boolean;
}

/** A command's words as a shell splits them, without the comment behind them. */
function splitWords(text: string): string[] {
  return [...text.replace(/\s#.*$/, "").matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) =>
    quoted ?? plain
  );
}

function commandsOf(page: string): Command[] {
  const text = read(page).replaceAll(/\\\n\s*/g, "");
  const lines = [...text.matchAll(/^ {4}((?:\.\/seed|deno task) .*)$/gm)].map(([, command]) => command);
  const inText = [...text.replaceAll(/^ {4}.*$/gm, "").matchAll(/`((?:\.\/seed|deno task)\s[^`]+)`/g)]
    .map(([, command]) => command.replaceAll(/\s+/g, " "));
  return [
    ...lines.map((text) => ({ text, isWhole: true })),
    ...inText.map((text) => ({ text, isWhole: false })),
  ]
    .map(({ text, isWhole }) => {
      const [task, ...args] = splitWords(text.replace(/^(\.\/seed|deno task) /, ""));
      return { text, isWhole, task, args };
    });
}

for (const page of PAGES) {
  Deno.test(`${page}: every command is of a task that exists, and its flags are read without a warning`, () => {
    for (const { text, task, args, isWhole } of commandsOf(page)) {
      if (/^(--deno|TASK)$/.test(task)) continue;
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
    const places = /`((?:actors|bench|cli|data|examples|kernels|links|models|tests)\/[\w./-]+)`/g;
    for (const [, path] of text.matchAll(places)) {
      const isMade = read(page).includes(`// ${path}\n`) || NOT_THERE.has(path);
      assert(isMade || exists(path), `${page} names ${path}, which is not there`);
    }
  });
}

/** What docs/extending.md says a file would be called. */
const NOT_THERE = new Set(["actors/duplicate_finder.ts"]);

/** Flags of other programs, and what stands for a flag. */
const FOREIGN = ["--v8-flags", "--logdir", "--allow-read", "--lint", "--check"];

/** Flags of the original's scripts, which are taken and have no effect. */
const ORIGINAL = ["--info", "--local_rank", "--distributed", "--gpu"];

let helps: string | undefined;

function isKnown(flag: string): boolean {
  helps ??= [...PARSERS.values()].map((parse) => parse(["--help"], CONTEXT).help).join("\n");
  const name = flag.replaceAll("_", "-");
  if ([...FOREIGN, ...ORIGINAL].some((other) => flag.startsWith(other)) || name === "--deno") return true;
  const plain = name.replace(/^--(no-)?/, "");
  return new RegExp(`--(\\[no-\\])?${plain}\\b`).test(helps);
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

/** Each command takes seconds to start, and there are some thirty. */
const IS_SHORT = Deno.env.get("SEED_LONG") !== "1";

/** Pictures of each part, and steps of a run that is not limited by itself: enough to see that it works. */
const PICTURES = 128;
const STEPS = 3;

/** The tutorial's commands that need nothing of one's own, in their order. */
function tutorialCommands(): string[] {
  const text = read("docs/tutorial.md").replaceAll(/\\\n\s*/g, "");
  return [...text.matchAll(/^ {4}((?:\.\/seed|"\$\(\.\/seed --deno\)") .*)$/gm)].map(([, command]) => command)
    .filter((command) => !/(^| )[A-Z]{4,}\b/.test(command));
}

Deno.test("docs/tutorial.md: its commands run as they are written, one after the other", {
  ignore: IS_SHORT || Deno.build.os === "windows",
}, async () => {
  await describeAdapter(); // `./seed` would install one
  const folder = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "seed_tutorial_" }));
  try {
    // What a reader has in the folder of the project.
    for (const name of ["seed", "data"]) Deno.symlinkSync(join(ROOT, name), join(folder, name));
    const [program] = writeSnippets("docs/tutorial.md", folder);
    assertEquals(program, join(folder, "pictures.ts"));
    const commands = tutorialCommands();
    assertEquals(commands.length, 14);
    let said = "";
    for (const command of commands) {
      // Fewer pictures and steps, and the configuration that lies beside the program otherwise.
      const line = /--limit-steps 20| lincls /.test(command)
        ? `${command} --no-tune`
        : command.includes("pictures.ts")
        ? `${command.replace(" run ", ` run --config "${ROOT}deno.json" `)} ${PICTURES}`
        : command.includes("--resume auto")
        ? `${command} --limit-steps ${STEPS}`
        : command.startsWith("./seed ui")
        ? `timeout -s INT 5 ${command} --port 0; true` // it would go on until Ctrl-C
        : command;
      const { code, stdout, stderr } = await new Deno.Command("sh", {
        args: ["-c", line],
        cwd: folder,
        env: {
          NO_COLOR: "1",
          INIT_CWD: folder,
          PATH: [dirname(Deno.execPath()), Deno.env.get("PATH") ?? ""].join(delimiter),
        },
      }).output();
      const decoder = new TextDecoder();
      const output = decoder.decode(stdout) + decoder.decode(stderr);
      assertEquals(code, 0, `${line}\n${output}`);
      said += output;
    }
    assertMatch(said, /from step 21, queue 1024/);
    assertMatch(said, new RegExp(`\\n${STEPS} steps in `));
    assertMatch(said, /page {6}http:\/\/localhost:\d+\/ {5}\(Ctrl-C ends it\)/);
    assertMatch(said, /weighted kNN {4}top-1 {4}top-5/);
    assertMatch(said, /the best is [\d.]+ %, with learning rate 0\./);
    for (
      const file of ["data/classes.txt", "run/config.json", "run/metrics.jsonl", "lincls/model_best.pth.tar"]
        .concat("features.npy", "features.names.csv", "neighbours.png", "student.pth", "student.onnx")
    ) {
      assert(Deno.statSync(join(folder, "output/tutorial", file)).size > 0, file);
    }
    const run = [...Deno.readDirSync(join(folder, "output/tutorial/run"))].map(({ name }) => name);
    assertEquals(run.filter((name) => name.endsWith(".pth.tar")).length, 1, "--keep 1");
    assertEquals(
      run.filter((name) => name.startsWith("events.out.tfevents.")).length,
      2,
      "one for each start",
    );
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

/** What the commands of docs/distilling.md and docs/judging.md are given besides, so that each takes seconds. */
const SMALL: Readonly<Record<string, string>> = {
  distill: "--image-size 32 --batch-size 4 --queue 16 --limit-steps 2 --no-tune",
  lincls: "--image-size 32 --batch-size 8 --epochs 1 --no-tune",
  embed: "--image-size 32",
  ui: "--port 0",
};

Deno.test("docs/distilling.md, docs/judging.md: their commands run as they are written", {
  ignore: IS_SHORT || Deno.build.os === "windows",
}, async () => {
  await describeAdapter(); // `./seed` would install one
  using data = new RunFolder(24, 10);
  const folder = Deno.realPathSync(data.makeOutput("here"));
  const env = {
    NO_COLOR: "1",
    INIT_CWD: folder,
    PATH: [dirname(Deno.execPath()), Deno.env.get("PATH") ?? ""].join(delimiter),
  };
  const run = async (line: string) => {
    const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-c", line], cwd: folder, env })
      .output();
    const decoder = new TextDecoder();
    assertEquals(code, 0, `${line}\n${decoder.decode(stdout)}${decoder.decode(stderr)}`);
  };
  // What the names in the commands stand for.
  Deno.symlinkSync(join(ROOT, "seed"), join(folder, "seed"));
  Deno.symlinkSync(data.data, join(folder, "DATA"));
  Deno.symlinkSync(SAMPLE_TEACHER, join(folder, "moco_v2_800ep_pretrain.pth.tar"));
  Deno.symlinkSync(SAMPLE_TEACHER, join(folder, "CHECKPOINT"));
  const [program] = writeSnippets("docs/tutorial.md", folder);
  await run(
    `"${Deno.execPath()}" run --quiet -A --config "${ROOT}deno.json" "${program}" imagenet ${PICTURES}`,
  );
  await run("mkdir shards; tar cf shards/0.tar -C imagenet/train .");
  for (const page of ["docs/distilling.md", "docs/judging.md"]) {
    for (const { text, task, args } of commandsOf(page).filter(({ isWhole }) => isWhole)) {
      if (args.some((arg) => arg.startsWith("npm:"))) continue; // it fetches some hundred megabytes
      const line = `${text.replace(/\s#.*$/, "")} ${SMALL[task] ?? ""}`;
      await run(task === "ui" ? `timeout -s INT 5 ${line}; true` : line);
      if (text.includes("--output runs/b0")) await run("cp -r runs/b0 runs/r18");
    }
  }
  for (
    const path of ["compare.html", "features.npy", "sheet.png", "imagenet_tsv/train.tsv", "data/test.tsv"]
  ) {
    assert(Deno.statSync(join(folder, path)).size > 0, path);
  }
});
