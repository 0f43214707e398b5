/// <reference lib="dom" />
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { epochsAfter, silentSince, State, stateOf } from "../../ui/page/state.ts";
import { servePage } from "../../ui/server.ts";
import { RecordedRun, recordOf } from "./recorded_run.ts";

Deno.test("a run that ends has its actors drawn anew, also where it recorded nothing of them", () => {
  const state = new State();
  state.apply({ kind: "runs", names: ["run"], isLive: true });
  const topics = state.apply({ kind: "record", run: 0, record: { ...recordOf(), status: "failed" } });
  assert(topics.includes("actors"), topics.join());
});

Deno.test("a run is silent by the clock of the machine that tells of it, however wrong the reader's is", () => {
  const now = Date.parse("2026-01-02T03:04:05.000Z"); // when the run was started
  const describe = (told: number | undefined) => {
    const state = new State();
    state.apply({ kind: "runs", names: ["run"], isLive: true, now: told });
    state.apply({ kind: "record", run: 0, record: recordOf() });
    return [silentSince(state.run!, state), stateOf(state.run!, state)];
  };
  assertEquals(describe(now + 30_000), [undefined, "running"]);
  assertEquals(describe(now + 90_000), [now, "silent"]);
  assertEquals(describe(undefined), [now, "silent"]);
});

Deno.test("epochsAfter() knows a run that was resumed with another batch size", () => {
  const plan = { images: 200, steps_per_epoch: 6, total_steps: 30, first_step: 24, epochs: 3 };
  const of = (extra: number | undefined, ...steps: number[]) =>
    steps.map((step) => epochsAfter(step, { ...plan, extra_steps: extra }));
  assertEquals(of(undefined, 6, 24, 30), [1, 4, 5]);
  assertEquals(of(12, 0, 12, 24, 27, 30), [0, 1, 2, 2.5, 3]); // two epochs of 12 steps before
});

Deno.test("a page that stays open knows nothing of a run that was replaced while its program was gone", async () => {
  using run = new RecordedRun();
  await run.writeAll({ status: "finished" });
  run.addSteps(1, 5);
  run.writeRanks(2);
  run.write("linear/run.json", { ...recordOf(), status: "finished" });
  /** What a stream tells from its beginning; that of another program has a reader that knows nothing. */
  const connect = async (state: State) => {
    const server = await servePage([run.path], { port: 0 });
    const body = (await fetch(`${server.url}events`)).body!;
    await server[Symbol.asyncDispose](); // it tells all that there is, and ends
    const text = await new Response(body).text();
    for (const [, message] of text.matchAll(/^data: (.*)$/gm)) state.apply(JSON.parse(message));
  };
  const known = ({ run }: State) => ({ ...run!, ranks: [...run!.ranks] });
  const state = new State();
  await connect(state);
  state.run!.isShown = false;
  for (const { name } of Deno.readDirSync(run.path)) {
    if (name !== ".lock") Deno.removeSync(join(run.path, name), { recursive: true });
  }
  for (const record of [undefined, recordOf()]) {
    if (record !== undefined) run.write("run.json", record);
    const other = new State();
    await connect(state);
    await connect(other);
    assertEquals(known(state), { ...known(other), isShown: false });
    assertEquals([state.run!.record, state.run!.config], [record, undefined]);
  }
});

Deno.test("runs that are added to a page leave what it knows of the others", () => {
  const state = new State();
  state.apply({ kind: "runs", names: ["a"], isLive: true, begins: true });
  state.apply({ kind: "record", run: 0, record: recordOf() });
  state.apply({ kind: "runs", names: ["a", "b"], isLive: true });
  assertEquals(state.runs.map(({ record }) => record?.status), ["running", undefined]);
});
