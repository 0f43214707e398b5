/// <reference lib="dom" />
import { assert, assertAlmostEquals, assertEquals, assertLess, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { setImmediate } from "node:timers";
import { FolderLock } from "../../data/folder_lock.ts";
import { State } from "../../ui/page/state.ts";
import { Curve, CURVE_POINTS, RunReader, SparseRows } from "../../ui/run_reader.ts";
import type { PageMessage } from "../../ui/records.ts";
import { earlierRecordOf, RecordedRun, recordOf, statsOf, stepOf } from "./recorded_run.ts";

function only<Kind extends PageMessage["kind"]>(messages: readonly PageMessage[], kind: Kind) {
  return messages.filter((message): message is PageMessage & { kind: Kind } => message.kind === kind);
}

Deno.test("RunReader says what is there, then what is new, and nothing where nothing is", async () => {
  using run = new RecordedRun();
  const reader = new RunReader(run.path, 3);
  assertEquals(await reader.poll(), [], "the folder may be empty");
  await run.writeAll();
  run.addSteps(1, 5);
  const first = await reader.poll();
  assert(first.every((message) => message.kind !== "runs" && message.run === 3));
  assertEquals(only(first, "record")[0].record, recordOf());
  assertEquals(only(first, "diagnostics").map(({ name }) => name), [
    "gallery",
    "teacher",
    "before",
    "student",
    "look",
  ]);
  const [{ reset, points, last }] = only(first, "metrics");
  assertEquals([reset, points.length, last], [false, 5, stepOf(5)]);
  assertEquals(points[4], [5, stepOf(5).loss, 0.03, 100, stepOf(5).time!]);
  assertEquals(only(first, "scores")[0].rows.map(({ top1 }) => top1), [40, 20, 30]);
  assertEquals(await reader.poll(), []);

  run.addSteps(6, 7);
  run.write("run.json", { ...recordOf(), status: "finished" });
  const second = await reader.poll();
  assertEquals(second.map(({ kind }) => kind), ["record", "metrics"]);
  assertEquals(only(second, "metrics")[0].points.map(([step]) => step), [6, 7]);
  const all = reader.everything();
  assertEquals(only(all, "metrics")[0].points.length, 7);
  assertEquals(only(all, "record")[0].record.status, "finished");
});

Deno.test("RunReader reads a record of an earlier version by today's names", async () => {
  using run = new RecordedRun();
  run.write("run.json", earlierRecordOf());
  const [{ record }] = only(await new RunReader(run.path, 0).poll(), "record");
  assertEquals(record, {
    ...recordOf(),
    ended_at: "2026-01-02T04:04:05.000Z",
    before: { started_at: "2026-01-01T00:00:00.000Z", seconds: 9 },
  });
});

Deno.test("RunReader says of a run that was killed that it was interrupted", async () => {
  using run = new RecordedRun();
  run.write("run.json", recordOf());
  const status = async () => only(await new RunReader(run.path, 0).poll(), "record")[0].record.status;
  assertEquals(await status(), "running");
  run.kill();
  assertEquals(await status(), "interrupted");
});

Deno.test("RunReader finds out that a run was killed while it was watched, once", async () => {
  using run = new RecordedRun();
  run.write("linear/run.json", recordOf());
  const lock = FolderLock.take(join(run.path, "linear"));
  run.write("run.json", recordOf());
  const reader = new RunReader(run.path, 0);
  await reader.poll();
  assertEquals(await reader.poll(), []);
  run.kill();
  lock[Symbol.dispose]();
  const news = await reader.poll();
  assertEquals(news.map(({ kind }) => kind), ["record", "evaluations"]);
  assertEquals(only(news, "record")[0].record, { ...recordOf(), status: "interrupted" });
  assertEquals(only(news, "evaluations")[0].evaluations[0].record.status, "interrupted");
  assertEquals(only(reader.everything(), "record")[0].record.status, "interrupted");
  assertEquals(await reader.poll(), []);
  run.write("run.json", { ...recordOf(), status: "finished" });
  assertEquals(only(await reader.poll(), "record")[0].record.status, "finished");
});

/** JSON texts that are no record: what is wrong with each is told for every file. */
const NO_RECORDS = ["null", "7", '"text"', "[]", "[null]", "NaN", '{"step":NaN}', "", "{"];

/** What every record but `config.json` must have. */
const NO_FIELDS = ["{}", '{"unknown":1}'];

Deno.test("RunReader passes over records of a wrong shape, each with a sentence, and reads the rest", async () => {
  using run = new RecordedRun();
  await run.writeAll();
  run.addSteps(1, 3);
  const names = ["run.json", "config.json", "actors.json", "linear/run.json"].concat(
    ["gallery", "teacher", "before", "student", "look"].map((name) => `insight/${name}.json`),
  );
  run.write("linear/run.json", recordOf());
  run.write("config.json", { lr: 1 });
  const all = (await new RunReader(run.path, 0).poll()).length;
  /** The sentences, where one file holds a text; all else is still read. */
  const read = async (name: string, text: string, lost: number) => {
    const path = join(run.path, name);
    const before = Deno.readTextFileSync(path);
    Deno.writeTextFileSync(path, text);
    const said: string[] = [];
    const reader = new RunReader(run.path, 0, { passOver: (sentence) => said.push(sentence) });
    assertEquals((await reader.poll()).length, all - lost, `${name}: ${text}`);
    if (text === "null") await reader.poll(); // says nothing more
    Deno.writeTextFileSync(path, before);
    return said.map((sentence) => sentence.replace(path, name));
  };
  for (const name of names) {
    for (const text of name === "config.json" ? NO_RECORDS : [...NO_RECORDS, ...NO_FIELDS]) {
      const said = await read(name, text, 1);
      assertEquals(said.length, 1, `${name}: ${text}`);
      assert(/^\S+ is ignored: expected .+, found .+$/.test(said[0]), said[0]);
      assert(said[0].startsWith(`${name} is`), said[0]);
    }
  }
  for (const [name, first] of [["metrics.jsonl", 4], ["scores.jsonl", 4], ["stats.jsonl", 21]] as const) {
    for (const line of [...NO_RECORDS, ...NO_FIELDS]) {
      const text = Deno.readTextFileSync(join(run.path, name));
      const said = await read(name, `${text}${line}\n${line}\n${text}`, 0);
      assertEquals(said.length, 1);
      assert(
        new RegExp(`^\\S+ line ${first} is ignored: expected .+, found .+, and 1 more$`).test(said[0]),
        said[0],
      );
    }
  }
  const wrong: [name: string, value: Record<string, unknown>, problem: string][] = [
    ["run.json", { status: "walking" }, 'found "walking" in the field status'],
    ["run.json", { started_at: undefined }, "expected a field started_at, found none"],
    [
      "run.json",
      { results: [{ name: "a", value: "1", unit: "" }] },
      'found "1" in the field results.0.value',
    ],
    [
      "run.json",
      { plan: { images: 1e300 } },
      "expected a safe integer, found 1e+300 in the field plan.images",
    ],
    [
      "run.json",
      { error: "x".repeat(1000), command: ["y".repeat(1000)] },
      "expected string, found a list in",
    ],
    ["run.json", { task: "x", inputs: "y".repeat(1000) }, `expected a list, found "${"y".repeat(39)}... in`],
  ];
  for (const [name, value, problem] of wrong) {
    const [sentence] = await read(name, JSON.stringify({ ...recordOf(), ...value }), 1);
    assertStringIncludes(sentence, problem);
  }
  const huge = JSON.stringify(recordOf()).replace("30.25", "1e999");
  assertStringIncludes((await read("run.json", huge, 1))[0], "expected a finite number, found Infinity");
});

Deno.test("RunReader warns once of a file of rows that is a folder, reads the rest, and the file when it is one", async () => {
  using run = new RecordedRun();
  await run.writeAll();
  run.addSteps(1, 2);
  const rows = ["metrics.jsonl", "scores.jsonl", "stats.jsonl"].map((name) => join(run.path, name));
  const texts = rows.map((path) => Deno.readTextFileSync(path));
  for (const path of rows) {
    Deno.removeSync(path);
    Deno.mkdirSync(path);
  }
  const said: string[] = [];
  const reader = new RunReader(run.path, 0, { passOver: (sentence) => said.push(sentence) });
  assertEquals((await reader.poll()).map(({ kind }) => kind).includes("record"), true);
  assertEquals(await reader.poll(), []);
  assertEquals(said.map((sentence) => sentence.split(" is ignored: ")[0]), rows);
  for (const [i, path] of rows.entries()) {
    Deno.removeSync(path);
    Deno.writeTextFileSync(path, texts[i]);
  }
  const news = await reader.poll();
  assertEquals([only(news, "metrics")[0].points.length, only(news, "scores")[0].rows.length], [2, 3]);
  assertEquals(only(news, "stats")[0].rows.length, 20);
  assertEquals(said.length, 3);
});

Deno.test("RunReader tells of rows of stats.jsonl, norms that are not finite among them, and anew after a resume", async () => {
  using run = new RecordedRun();
  const path = join(run.path, "stats.jsonl");
  const reader = new RunReader(run.path, 2);
  const poll = async () => {
    const told = only(await reader.poll(), "stats");
    return told.map(({ run, reset, rows }) => ({ run, reset, steps: rows.map(({ step }) => step) }));
  };
  run.addStats(10, 30, (row) => ({ ...row, gradient_norms: { conv1: NaN } }));
  const [{ rows }] = only(await reader.poll(), "stats");
  assertEquals(rows[1], { ...statsOf(20), gradient_norms: { conv1: null } });
  run.addStats(40, 40, ({ device_seconds: _, ...row }) => row);
  assertEquals(await poll(), [{ run: 2, reset: false, steps: [40] }]);
  assertEquals(await poll(), []);
  Deno.writeTextFileSync(`${path}.new`, Deno.readTextFileSync(path).split("\n")[0] + "\n");
  Deno.renameSync(`${path}.new`, path);
  run.addStats(20, 20);
  assertEquals(await poll(), [{ run: 2, reset: true, steps: [10, 20] }]);
  assertEquals(only(reader.everything(), "stats")[0].rows.map(({ step }) => step), [10, 20]);
});

Deno.test("RunReader keeps some of very many rows of stats.jsonl, told and kept alike", async () => {
  using run = new RecordedRun();
  const reader = new RunReader(run.path, 0, { points: 50 });
  run.addStats(10, 150);
  assertEquals(only(await reader.poll(), "stats")[0].rows.length, 15);
  run.addStats(160, 250);
  const [{ reset, rows }] = only(await reader.poll(), "stats");
  assertEquals([reset, rows.map(({ step }) => step)], [
    true,
    [10, 30, 50, 70, 90, 110, 130, 150, 170, 190, 210, 230, 250],
  ]);
  assertEquals(only(reader.everything(), "stats")[0].rows, rows);
});

Deno.test("SparseRows keeps every so many-th row, evenly spread, and says when others have gone", () => {
  const sparse = new SparseRows<number>(100);
  const gone = Array.from({ length: 1000 }, (_, i) => i).filter((row) => sparse.add(row));
  assertEquals(gone, [199, 398, 796]);
  assertEquals(sparse.rows, Array.from({ length: 125 }, (_, i) => 8 * i));
});

Deno.test("RunReader begins anew where a resumed run dropped rows, and waits for half a line's end", async () => {
  using run = new RecordedRun();
  const said: string[] = [];
  const reader = new RunReader(run.path, 0, { passOver: (sentence) => said.push(sentence) });
  run.addSteps(1, 9);
  await reader.poll();
  const path = join(run.path, "metrics.jsonl");
  const lines = Deno.readTextFileSync(path).split("\n").slice(0, 4).join("\n") + "\n";
  Deno.writeTextFileSync(`${path}.new`, lines);
  Deno.renameSync(`${path}.new`, path);
  run.addSteps(5, 6);
  const [message] = only(await reader.poll(), "metrics");
  assertEquals([message.reset, message.points.map(([step]) => step)], [true, [1, 2, 3, 4, 5, 6]]);

  const line = new TextEncoder().encode(JSON.stringify(stepOf(7)) + "\nnö JSON\n");
  const halfLetter = line.indexOf(0xc3) + 1;
  Deno.writeFileSync(path, line.subarray(0, 20), { append: true });
  assertEquals(await reader.poll(), []);
  Deno.writeFileSync(path, line.subarray(20, halfLetter), { append: true });
  assertEquals(only(await reader.poll(), "metrics")[0].points.map(([step]) => step), [7]);
  assertEquals(said, []);
  Deno.writeFileSync(path, line.subarray(halfLetter), { append: true });
  assertEquals(await reader.poll(), []);

  assertEquals(said, [`${path} line 8 is ignored: expected JSON, found nö JSON`]);

  Deno.removeSync(path);
  const [gone] = only(await reader.poll(), "metrics");
  assertEquals([gone.reset, gone.points, gone.last], [true, [], null]);
});

Deno.test("RunReader lets the process go on while it reads a long file of rows, and tells all of it at once", async () => {
  using run = new RecordedRun();
  const steps = 20_000;
  run.addSteps(1, steps);
  const reader = new RunReader(run.path, 0);
  const seen = new Set<number>([0, steps]);
  let look = setImmediate(function onTurn() {
    seen.add(only(reader.everything(), "metrics")[0].last?.step ?? 0);
    look = setImmediate(onTurn);
  });
  const [{ points, last, reset }] = only(await reader.poll(), "metrics");
  clearImmediate(look);
  assertEquals([reset, last], [true, stepOf(steps)]);
  assertEquals(points.length, CURVE_POINTS);
  assertEquals(points.map(([step]) => step), points.map((_, i) => 2 * i + 2));

  const turns = [...seen].sort((a, b) => a - b);
  const most = Math.max(...turns.slice(1).map((step, i) => step - turns[i]));
  assertLess(most, 1000, `${most} rows in one turn`);

  const path = join(run.path, "metrics.jsonl");
  Deno.removeSync(path);
  run.addSteps(1, 5);
  const [anew] = only(await reader.poll(), "metrics");
  assertEquals([anew.reset, anew.points.length], [true, 5]);
});

Deno.test("RunReader reads lines of any length, the bytes of a letter never apart", async () => {
  using run = new RecordedRun();
  const said: string[] = [];
  const reader = new RunReader(run.path, 0, { passOver: (sentence) => said.push(sentence) });
  const path = join(run.path, "metrics.jsonl");
  const long = (step: number, length: number) =>
    JSON.stringify({ ...stepOf(step), note: "ö".repeat(length) });
  Deno.writeTextFileSync(
    path,
    [1, 2, 3].map((step) => long(step, 60_000 * step) + "\n").join("") + long(4, 70_000),
  );
  assertEquals(only(await reader.poll(), "metrics")[0].points.map(([step]) => step), [1, 2, 3]);
  assertEquals(await reader.poll(), []);
  Deno.writeTextFileSync(path, "\nno JSON\n", { append: true });
  assertEquals(only(await reader.poll(), "metrics")[0].points.map(([step]) => step), [4]);
  assertEquals(said, [`${path} line 5 is ignored: expected JSON, found no JSON`]);
});

Deno.test("RunReader tells of each rank's actors, and of each anew when they change", async () => {
  using run = new RecordedRun();
  await run.writeAll();
  run.writeRanks(3);
  const reader = new RunReader(run.path, 1);
  const first = await reader.poll();
  assertEquals(only(first, "actors")[0].record.rank?.size, 3);
  const told = only(first, "rank").map((
    { run, record: { rank, actors } },
  ) => [run, rank.rank, rank.host, actors.length]);
  assertEquals(told.toSorted(), [[1, 1, "node1", 3], [1, 2, "node2", 3]]);
  assertEquals(await reader.poll(), []);

  const { actors: [actor], ...record } =
    only(first, "rank").find(({ record }) => record.rank.rank === 2)!.record;
  run.write("actors_rank2.json", { ...record, actors: [actor] });
  const news = await reader.poll();
  assertEquals(only(news, "rank").map(({ record }) => [record.rank.rank, record.actors.length]), [[2, 1]]);
  assertEquals(news.length, 1);
  assertEquals(only(reader.everything(), "rank").length, 2);
});

Deno.test("RunReader passes over a rank's record that does not say whose it is", async () => {
  using run = new RecordedRun();
  const said: string[] = [];
  run.write("actors_rank1.json", { at: "2026-01-02T03:04:05.000Z", actors: [] });
  const news = await new RunReader(run.path, 0, { passOver: (sentence) => said.push(sentence) }).poll();
  assertEquals(news, []);
  assertEquals(said, [
    `${join(run.path, "actors_rank1.json")} is ignored: expected a field rank, found none`,
  ]);
});

Deno.test("Curve keeps a million steps in some points, each the mean of as many steps", () => {
  const curve = new Curve(100);
  const steps = 100_000;
  let sum = 0;
  for (let step = 1; step <= steps; step++) {
    const loss = step % 7;
    sum += loss;
    curve.add({ epoch: 0, step, loss, lr: 0.1, images_per_second: 10 });
  }
  const { points } = curve;
  assertLess(points.length, 200);
  assert(points.length >= 90, `${points.length} points`);
  const mean = points.reduce((total, point) => total + point[1]!, 0) / points.length;
  assertAlmostEquals(mean, sum / steps, 0.05);
  const gaps = new Set(points.slice(1).map(([step], i) => step - points[i][0]));
  assertEquals(gaps.size, 1, "points are evenly spread");
});

Deno.test("Curve leaves out losses that are no number, and has a gap where there is none", () => {
  const curve = new Curve(1);
  const add = (step: number, loss: number | null) =>
    curve.add({ epoch: 0, step, loss, lr: 0.1, images_per_second: 10 });
  add(1, null);
  assertEquals(curve.points, [[1, null, 0.1, 10, null]]);
  add(2, 4);
  assertEquals(curve.points, [[2, 4, 0.1, 10, null]]);
});

Deno.test("RunReader tells of evaluations in the run's folder, and of each anew when it changes", async () => {
  using run = new RecordedRun();
  const reader = new RunReader(run.path, 0);
  Deno.mkdirSync(join(run.path, "insight"));
  await reader.poll();
  const linear = { ...recordOf(), task: "lincls", started_at: "2026-01-03T00:00:00.000Z" };
  run.write("linear/run.json", linear);
  run.write("earlier/run.json", recordOf());
  const [{ evaluations }] = only(await reader.poll(), "evaluations");
  assertEquals(evaluations.map(({ name, record }) => [name, record.task]), [
    ["earlier", "distill"],
    ["linear", "lincls"],
  ]);
  assertEquals(await reader.poll(), []);
  run.write("linear/run.json", { ...linear, status: "finished" });
  assertEquals(only(await reader.poll(), "evaluations")[0].evaluations[1].record.status, "finished");
  assertEquals(only(reader.everything(), "evaluations").length, 1);
});

Deno.test("RunReader forgets what a run left that was removed, and tells of the next one in its folder", async () => {
  using run = new RecordedRun();
  await run.writeAll({ status: "finished" });
  run.writeRanks(2);
  run.addSteps(1, 5);
  run.write("linear/run.json", { ...recordOf(), status: "finished" });
  const reader = new RunReader(run.path, 0);
  const first = await reader.poll();
  const next = { ...recordOf(), status: "finished" as const, started_at: "2026-01-04T00:00:00.000Z" };
  for (const { name } of Deno.readDirSync(run.path)) {
    Deno.removeSync(join(run.path, name), { recursive: true });
  }
  run.write("run.json", next);
  const news = await reader.poll();
  const left = ["config", "actors", "gallery", "teacher", "before", "student", "look", "rank"];
  assertEquals(only(news, "gone").map(({ name }) => name), left);
  assertEquals(only(news, "record")[0].record, next);
  const isEmpty = (messages: readonly PageMessage[]) => {
    assertEquals(only(messages, "evaluations")[0].evaluations, []);
    for (const kind of ["scores", "stats"] as const) {
      assertEquals(only(messages, kind).map(({ reset, rows }) => [reset, rows]), [[true, []]]);
    }
    assertEquals(only(messages, "metrics").map(({ reset, points }) => [reset, points]), [[true, []]]);
  };
  isEmpty(news);
  const all = reader.everything();
  isEmpty(all);
  assertEquals(all.map(({ kind }) => kind), ["record", "evaluations", "metrics", "scores", "stats"]);
  assertEquals(await reader.poll(), []);

  // A page that was told of the first run knows no more than one that comes now.
  const known = (...messages: PageMessage[]) => {
    const state = new State();
    state.apply({ kind: "runs", names: [run.path], isLive: true });
    for (const message of messages) state.apply(message);
    const { ranks, ...others } = state.run!;
    return JSON.parse(JSON.stringify({ ...others, ranks: [...ranks] }));
  };
  assertEquals(known(...first, ...news), known(...all));
});
