// `deno task compare` and `deno task ui`, started as people start them.
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sparkline } from "../../../cli/commands/compare.ts";
import { UsageError } from "../../../cli/flags/flags.ts";
import { newestRun } from "../../../cli/output/run_folders.ts";
import { parseCompareFlags } from "../../../cli/flags/compare_flags.ts";
import { parseUiFlags } from "../../../cli/flags/ui_flags.ts";
import { CURVE_POINTS } from "../../../ui/run_reader.ts";
import { RecordedRun, recordOf, stepOf } from "../../ui/recorded_run.ts";
import { hostPrograms, taskFlags } from "../run_program.ts";

const runProgram = hostPrograms();
const COMPARE = fileURLToPath(new URL("../../../cli/commands/compare.ts", import.meta.url));
const UI = fileURLToPath(new URL("../../../cli/commands/ui.ts", import.meta.url));

Deno.test("compare prints runs side by side, what their settings differ in, and draws them", async () => {
  using first = new RecordedRun();
  using second = new RecordedRun();
  await first.writeAll({ status: "finished" });
  await second.writeAll({
    status: "failed",
    results: [{ name: "student after, weighted kNN top-1", value: 41, unit: "%" }],
  });
  second.write("config.json", { student_arch: "efficientnet_b0", lr: 0.03, output: "elsewhere" });
  first.addSteps(1, 200);
  second.addSteps(1, 60);
  const plot = join(first.path, "plot.html");
  const { code, stdout, stderr } = await runProgram(COMPARE, first.path, second.path, "--plot", plot);
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /^status +finished +failed$/m);
  assertMatch(stdout, /^steps done +200 +60$/m);
  assertMatch(stdout, /^loss over the steps +█▇?[▁-█]+▁ +█[▁-█]+▁$/m);
  assertMatch(stdout, /^student after, weighted kNN top-1 +30\.3 % +41\.0 %$/m);
  assertMatch(stdout, /^student_arch +resnet18 +efficientnet_b0$/m);
  assert(!/^(lr|output) /m.test(stdout), "what is the same, and where the files are, is left out");
  assertStringIncludes(stdout, `plot      ${plot}`);
  assertMatch(
    Deno.readTextFileSync(plot),
    /"kind":"runs","names":\["seed_recorded_\w+","seed_recorded_\w+"\]/,
  );

  const again = await runProgram(COMPARE, first.path, second.path, "--plot", plot);
  assertMatch(again.stderr, /^error: .*plot\.html already exists: use --force/);
  assertEquals((await runProgram(COMPARE, first.path, "--plot", plot, "--force")).code, 0);

  const json = await runProgram(COMPARE, "--json", first.path, second.path);
  const { runs } = JSON.parse(json.stdout);
  assertEquals(runs.map(({ status }: { status: string }) => status), ["finished", "failed"]);
  assertEquals(runs[1].results, { "student after, weighted kNN top-1": 41 });
  assertEquals(runs[0].settings, { student_arch: "resnet18", batch_size: 32 });
});

Deno.test("compare counts every step of a run that is longer than its curve, and shows its last loss", async () => {
  using run = new RecordedRun();
  await run.writeAll({ status: "finished" });
  run.addSteps(1, 2 * CURVE_POINTS);
  const last = { ...stepOf(2 * CURVE_POINTS + 1), loss: 99 };
  Deno.writeTextFileSync(join(run.path, "metrics.jsonl"), JSON.stringify(last) + "\n", { append: true });
  const { stdout } = await runProgram(COMPARE, run.path);
  assertMatch(stdout, /^steps done +20001 *$/m);
  assertMatch(stdout, /^last loss +99\.0000 *$/m);
});

Deno.test("compare writes no file unasked", async () => {
  using run = new RecordedRun();
  await run.writeAll({ status: "finished" });
  run.addSteps(1, 20);
  using folder = new RecordedRun();
  const before = [...Deno.readDirSync(folder.path)].map(({ name }) => name);
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [...taskFlags(COMPARE), COMPARE, run.path],
    env: { NO_COLOR: "1", INIT_CWD: folder.path },
  }).output();
  const text = new TextDecoder().decode(stdout);
  assertEquals([success, text.includes("plot")], [true, false], text);
  assertEquals([...Deno.readDirSync(folder.path)].map(({ name }) => name), before);
});

Deno.test("compare names the records that it cannot read, and goes on with the rest", async () => {
  using first = new RecordedRun();
  using second = new RecordedRun();
  await first.writeAll({ status: "finished", results: [{ name: "mean loss", value: null, unit: "" }] });
  first.addSteps(1, 20);
  second.write("run.json", null);
  second.write("config.json", [1]);
  second.write("metrics.jsonl", "no row");
  Deno.writeTextFileSync(join(second.path, "metrics.jsonl"), "\n", { append: true });
  second.addSteps(1, 10);
  const plot = join(first.path, "plot.html");
  const { code, stdout, stderr } = await runProgram(COMPARE, first.path, second.path, "--plot", plot);
  assertEquals(code, 0, stderr);
  assertEquals(stderr.trimEnd().split("\n"), [
    `warning: ${join(second.path, "run.json")} is ignored: expected an object, found null`,
    `warning: ${join(second.path, "config.json")} is ignored: expected an object, found a list`,
    `warning: ${join(second.path, "metrics.jsonl")} line 1 is ignored: expected an object, found "no row"`,
  ]);
  assertMatch(stdout, /^status +finished +unknown$/m);
  assertMatch(stdout, /^steps done +20 +10$/m);
  assertMatch(stdout, /^mean loss +not finite *$/m);
});

Deno.test("compare and ui name a folder that is no run's", async () => {
  using run = new RecordedRun();
  for (const program of [COMPARE, UI]) {
    const empty = await runProgram(program, run.path);
    assertEquals(empty.code, 1);
    assertMatch(
      empty.stderr,
      /^error: .*: expected the output directory of a run(, or a folder of runs)?, but it has no config\.json\n$/,
    );
    const nowhere = await runProgram(program, join(run.path, "nowhere"));
    assertMatch(nowhere.stderr, /but it does not exist\n$/);
  }
  assertThrows(() => parseCompareFlags([]), UsageError, "no runs given");
  assertThrows(() => parseUiFlags(["--port", "70000"]), UsageError, "from 0 to 65535");
  for (const help of [parseCompareFlags(["-h"]).help, parseUiFlags(["--help"]).help]) {
    assertMatch(help!, /OUTPUT/);
  }
});

/** Serves runs as people do, until something was done with the page, and returns what was said. */
async function serveRuns(folders: readonly string[], visit: (url: string) => Promise<void>): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...taskFlags(UI), UI, "--port", "0", ...folders],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
    env: { NO_COLOR: "1" },
  }).spawn();
  let said = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    said += text;
    const url = /page +(http:\S+)/.exec(said)?.[1];
    if (url === undefined) continue;
    await visit(url).finally(() => child.kill("SIGINT"));
  }
  assertEquals((await child.status).code, 0);
  return said;
}

Deno.test("ui serves the runs that it is given until Ctrl-C", {
  ignore: Deno.build.os === "windows",
}, async () => {
  using run = new RecordedRun();
  await run.writeAll();
  const said = await serveRuns([run.path], async (url) => {
    assertMatch(await (await fetch(url)).text(), /<title>SEED<\/title>/);
  });
  assertMatch(said, new RegExp(`^run +${run.path}\n`));
});

Deno.test("ui finds new runs in a folder when another one has gone", {
  ignore: Deno.build.os === "windows",
}, async () => {
  using parent = new RecordedRun();
  for (const name of ["gone/a", "kept/b"]) parent.write(`${name}/config.json`, {});
  const [gone, kept] = ["gone", "kept"].map((name) => join(parent.path, name));
  await serveRuns([gone, kept], async (url) => {
    Deno.removeSync(gone, { recursive: true });
    parent.write("kept/c/config.json", {});
    const response = await fetch(`${url}events?run=0`);
    const { value } = await response.body!.getReader().read();
    const [runs] = new TextDecoder().decode(value).split("\n\n");
    const { names } = JSON.parse(runs.replace(/^data: /, ""));
    assertEquals(names.toSorted(), [join(kept, "b"), join(kept, "c")]);
  });
});

Deno.test("newestRun finds the run that was started last", async () => {
  using parent = new RecordedRun();
  for (const [name, time] of [["b", 2000], ["a", 3000], ["c", 1000]] as const) {
    parent.write(`${name}/config.json`, recordOf());
    Deno.utimeSync(join(parent.path, name, "config.json"), time, time);
  }
  parent.write("d/other.json", {});
  assertEquals(await newestRun(parent.path), join(parent.path, "a"));
});

Deno.test("sparkline is a curve of at most 20 characters", () => {
  assertEquals(sparkline([1, 2, 3, 4, 5, 6, 7, 8]), "▁▂▃▄▅▆▇█");
  assertEquals([sparkline([]), sparkline([NaN]), sparkline([3, 3])], ["", "", "▁▁"]);
  assertEquals(sparkline(Array.from({ length: 1000 }, (_, i) => -i)).length, 20);
});
