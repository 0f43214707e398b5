import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import { join } from "node:path";
import { Curve, RunReader } from "../../ui/run_reader.ts";
import type { PageMessage } from "../../ui/records.ts";
import { RecordedRun, recordOf, stepOf } from "./recorded_run.ts";

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
  assertEquals(only(first, "insight").map(({ name }) => name), [
    "gallery",
    "teacher",
    "before",
    "student",
    "look",
  ]);
  const [{ reset, points, last }] = only(first, "metrics");
  assertEquals([reset, points.length, last], [false, 5, stepOf(5)]);
  assertEquals(points[4], [5, stepOf(5).loss, 0.03, 100]);
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

Deno.test("RunReader says of a run that was killed that it was interrupted", async () => {
  using run = new RecordedRun();
  run.write("run.json", recordOf());
  const status = async () => only(await new RunReader(run.path, 0).poll(), "record")[0].record.status;
  assertEquals(await status(), "running");
  run.kill();
  assertEquals(await status(), "interrupted");
});

Deno.test("RunReader begins anew where a resumed run dropped rows, and waits for half a line's end", async () => {
  using run = new RecordedRun();
  const reader = new RunReader(run.path, 0);
  run.addSteps(1, 9);
  await reader.poll();
  const path = join(run.path, "metrics.jsonl");
  const lines = Deno.readTextFileSync(path).split("\n").slice(0, 4).join("\n") + "\n";
  Deno.writeTextFileSync(`${path}.new`, lines);
  Deno.renameSync(`${path}.new`, path);
  run.addSteps(5, 6);
  const [message] = only(await reader.poll(), "metrics");
  assertEquals([message.reset, message.points.map(([step]) => step)], [true, [1, 2, 3, 4, 5, 6]]);

  const line = JSON.stringify(stepOf(7)) + "\n";
  Deno.writeTextFileSync(path, line.slice(0, 20), { append: true });
  assertEquals(await reader.poll(), []);
  Deno.writeTextFileSync(path, line.slice(20) + "no JSON\n", { append: true });
  assertEquals(only(await reader.poll(), "metrics")[0].points.map(([step]) => step), [7]);

  Deno.removeSync(path);
  const [gone] = only(await reader.poll(), "metrics");
  assertEquals([gone.reset, gone.points, gone.last], [true, [], null]);
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
  assertEquals(curve.points, [[1, null, 0.1, 10]]);
  add(2, 4);
  assertEquals(curve.points, [[2, 4, 0.1, 10]]);
});

Deno.test("RunReader tells of evaluations in the run's folder, and of each anew when it changes", async () => {
  using run = new RecordedRun();
  const reader = new RunReader(run.path, 0);
  run.write("insight/look.json", {});
  await reader.poll();
  const linear = { ...recordOf(), task: "lincls", startedAt: "2026-01-03T00:00:00.000Z" };
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
