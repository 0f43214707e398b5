/// <reference lib="dom" />
import { assert } from "@std/assert";
import { State } from "../../ui/page/state.ts";
import { recordOf } from "./recorded_run.ts";

Deno.test("a run that ends has its actors drawn anew, also where it recorded nothing of them", () => {
  const state = new State();
  state.apply({ kind: "runs", names: ["run"], isLive: true });
  const topics = state.apply({ kind: "record", run: 0, record: { ...recordOf(), status: "failed" } });
  assert(topics.includes("actors"), topics.join());
});
