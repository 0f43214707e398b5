// What --json says is what docs/file-formats.md says of it.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";
import { hostPrograms } from "../cli/run_program.ts";
import { findProblems, type JsonSchema } from "../json_schema.ts";

const runProgram = hostPrograms();
const DOCS = new URL("../../docs/file-formats.md", import.meta.url);
const [DISTILL, LINCLS] = ["distill", "lincls"].map((task) =>
  fileURLToPath(new URL(`../../cli/commands/${task}.ts`, import.meta.url))
);

/** The schema in the section of `--json`. */
function readSchema(): JsonSchema {
  const section = Deno.readTextFileSync(DOCS).split("\n## ").find((text) => text.startsWith("--json"))!;
  return JSON.parse(/```json\n([^]*?)```/.exec(section)![1]);
}

interface Line {
  type: string;
  [name: string]: unknown;
}

Deno.test("every line of distill --json and lincls --json fits the schema, and all kinds of lines are met", async () => {
  using folder = new RunFolder(24, 10);
  const schema = readSchema();
  const met = new Set<unknown>();
  const run = async (program: string, ...args: string[]): Promise<Line[]> => {
    const { stdout } = await runProgram(program, ...args, "--json", "--plugin", TINY_ENCODER, "--no-tune");
    return stdout.trimEnd().split("\n").map((text) => {
      const line: Line = JSON.parse(text);
      assertEquals(findProblems(line, schema), [], text);
      met.add(line.type);
      return line;
    });
  };
  const small = ["-b", "4", "--image-size", "32", "-j", "1"];
  const out = join(folder.path, "out");
  const teacher = ["--distill", TINY_TEACHER, "-a", "tiny_convnet", "--queue", "16"];
  const distill = [...small, ...teacher, "--data", folder.data, "--epochs", "2", "--output", out];
  const lines = await run(
    DISTILL,
    ...distill,
    "--knn-every",
    "1",
    "--limit-steps",
    "6",
    "--stats-every",
    "2",
  );
  assertEquals(lines[0], { type: "start", task: "distill", adapter: lines[0].adapter, output: out });
  const of = (type: string) => lines.filter((line) => line.type === type);
  assertEquals([of("plan").length, of("checkpoint").length, lines.at(-1)!.type], [1, 1, "result"]);
  assertEquals(
    of("step").map(({ epoch, step }) => [epoch, step]),
    [1, 2, 3, 4, 5, 6].map((step) => [0, step]),
  );
  assertEquals(of("stats").map(({ epoch, step }) => [epoch, step]), [[0, 2], [0, 4], [0, 6]]);
  assertEquals(
    of("evaluation").map(({ of, by, step }) => `${of} ${by} ${step}`).toSorted(),
    ["student knn 0", "student knn 6", "teacher knn 0"],
  );
  // 24 images vote, ten are classified, and ten are the probe set.
  const evaluated = of("progress").filter(({ phase, of }) => phase === "evaluation" && of === "teacher");
  assertEquals(evaluated.at(-1), {
    type: "progress",
    phase: "evaluation",
    of: "teacher",
    done: 44,
    total: 44,
  });

  const resumed = await run(DISTILL, ...distill, "--resume", "auto", "--no-insight");
  const { seconds, seconds_in_all } = resumed.at(-1)!;
  assert((seconds_in_all as number) > (seconds as number));
  // What is said before the first step comes after the first line.
  const warned = await run(
    DISTILL,
    ...[
      ...small,
      ...teacher,
      "--data",
      folder.data,
      "--epochs",
      "1",
      "--schedule",
      "1",
      "--limit-steps",
      "1",
    ],
    ...["--ui", "0", "--no-insight", "--output", join(folder.path, "warned")],
  );
  assertEquals(warned.slice(0, 3).map(({ type }) => type), ["start", "note", "warning"]);
  // Where nothing is left to do, a program that waits for a last line gets one too.
  const nothing = await run(DISTILL, ...distill, "--resume", "auto");
  assertMatch(String(nothing.at(-2)!.text), /there is nothing left to do/);
  assertEquals(nothing.at(-1), { type: "end", status: "finished" });
  const elsewhere = distill.with(-1, join(folder.path, "elsewhere"));
  const { path } = of("checkpoint")[0];
  const failed = await run(DISTILL, ...elsewhere, "--temp", "0.4", "--resume", String(path));
  const { error, ...end } = failed.at(-1)!;
  assertEquals(end, { type: "end", status: "failed" });
  assertMatch(String(error), /is from a different run: --temp is 0\.4/);

  const linear = [...small, "--epochs", "2", "--lr", "0.1,1", "--output", join(folder.path, "linear")];
  const said = await run(LINCLS, ...linear, "--pretrained", TINY_TEACHER, folder.data);
  assertEquals(said.filter(({ type }) => type === "evaluation").map(({ epoch, step }) => [epoch, step]), [
    [0, 6],
    [1, 12],
  ]);
  assertEquals(
    said.filter(({ phase }) => phase === "evaluation").map(({ done, total }) => [done, total]).at(-1),
    [
      10,
      10,
    ],
  );
  const finetune = [
    "--finetune",
    "--label-fraction",
    "0.5",
    ...linear.with(-3, "0.1").with(-1, join(folder.path, "finetune")),
  ];
  const tuned = await run(LINCLS, ...finetune, "--pretrained", TINY_TEACHER, folder.data);
  const [plan] = tuned.filter(({ type }) => type === "plan");
  assertEquals((plan.rows as number[]).length, plan.train_images);
  const perEpoch = plan.batches_per_epoch as number;
  assertEquals(
    tuned.filter(({ type }) => type === "evaluation").map(({ by, epoch, step }) => [by, epoch, step]),
    [["finetune", 0, perEpoch], ["finetune", 1, 2 * perEpoch]],
  );
  const kinds = schema.oneOf!.flatMap(({ properties }) => {
    const { type } = properties!;
    return type.enum ?? [type.const];
  });
  assertEquals(new Set<unknown>(kinds), met.add("warning"));
});

Deno.test("findProblems() finds what does not fit the schema of --json", () => {
  const schema = readSchema();
  const step = { type: "step", epoch: 0, step: 1, loss: null, lr: 0.1, images_per_second: null, time: 1 };
  const norms = { gradient_norms: { conv1: null }, weight_norms: { conv1: 1 } };
  const stats = { type: "stats", epoch: 0, step: 1, time: 1, ...norms, device_bytes: 1, process_bytes: 1 };
  for (const right of [step, stats]) assertEquals(findProblems(right, schema), []);
  for (
    const wrong of [
      { ...step, step: 0 },
      { ...step, epoch: "0" },
      { ...step, lr: undefined },
      { ...step, lossScale: 1 },
      { ...stats, weight_norms: { conv1: "1" } },
      { type: "other" },
    ]
  ) {
    assertEquals(findProblems(JSON.parse(JSON.stringify(wrong)), schema).length, 1, JSON.stringify(wrong));
  }
});
