import { assertEquals, assertRejects } from "@std/assert";
import { ActorCrash, ActorSystem } from "../../actors/runtime/mod.ts";
import { openSystem } from "../../methods/watched_actors.ts";
import type crasher from "../actors/runtime/fixtures/crasher.ts";
import { fixture, sleep } from "../actors/runtime/helpers.ts";

/** Spawns an actor that never gets through its start, as if every minute were a moment, and waits for its end or a while. */
async function startForHours(system: ActorSystem): Promise<string> {
  const { setTimeout } = globalThis;
  const spawn = () => {
    globalThis.setTimeout =
      ((run: () => void, ms: number) => setTimeout(run, ms >= 60_000 ? 0 : ms)) as typeof setTimeout;
    try {
      return system.spawn<typeof crasher>("slow", fixture("crasher.ts"), { inStart: "hang" });
    } finally {
      globalThis.setTimeout = setTimeout;
    }
  };
  return await system.run(async () => {
    const { ready } = spawn();
    return await Promise.race([ready.then(() => "ready"), sleep(200).then(() => "starting")]);
  });
}

Deno.test("openSystem() lets the actors of a run take as long as they like to start", async () => {
  await assertRejects(() => startForHours(new ActorSystem({ graceMs: 100 })), ActorCrash, "StartTimeout");
  assertEquals(await startForHours(openSystem(undefined, () => {})), "starting");
});
