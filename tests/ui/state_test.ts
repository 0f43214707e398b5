/// <reference lib="dom" />
import { assert, assertEquals } from "@std/assert";
import { epochsAfter, silentSince, State, stateOf } from "../../ui/page/state.ts";
import { recordOf } from "./recorded_run.ts";

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
