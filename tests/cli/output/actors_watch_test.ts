import { assert, assertEquals } from "@std/assert";
import { type ActorDefinition, ActorSystem, type Message } from "../../../actors/runtime/mod.ts";
import { ActorsWatch } from "../../../cli/output/actors_watch.ts";
import type { ActorRecord } from "../../../ui/records.ts";

/** An actor that computes for so many ms at each message, without a pause. */
const BUSY = `
import { defineActor } from ${
  JSON.stringify(new URL("../../../actors/runtime/mod.ts", import.meta.url).href)
};
export default defineActor(() => ({
  handlers: {
    compute(ms) {
      for (const end = performance.now() + ms; performance.now() < end;);
    },
  },
}));`;

type Busy = ActorDefinition<{ compute: Message<number> }, Record<string, never>>;

for (const ending of ["done", "failed"] as const) {
  Deno.test(`ActorsWatch knows all actors of a short run that is ${ending}, with what each did`, async () => {
    const url = `data:text/javascript,${encodeURIComponent(BUSY)}`;
    const written: ActorRecord[][] = [];
    const system = new ActorSystem();
    let watch: ActorsWatch;
    await system.run(async () => {
      const first = system.spawn<Busy>("first", url, {});
      watch = new ActorsWatch(system.actors, (records) => written.push(records));
      await Promise.all([first.ref.ask("compute", 30), first.ready]);
      if (ending === "failed") first.crash(new Error("enough"));
    }).catch(() => {});
    assertEquals(written, []);
    watch!.stop();
    const [{ name, handled, busyOverall, seconds = 0 }] = written.at(-1)!;
    assertEquals([written.length, name, handled], [1, "first", 1]);
    assert(seconds >= 0.03 && busyOverall * seconds >= 0.025, `${busyOverall} of ${seconds} s`);
  });
}

Deno.test("ActorsWatch names an actor of which it was told nothing", async () => {
  const system = new ActorSystem();
  const written: ActorRecord[][] = [];
  const actor = system.spawn("killed", `data:text/javascript,${encodeURIComponent(BUSY)}`, {});
  await actor.ready;
  const watch = new ActorsWatch(system.actors, (records) => written.push(records));
  const failed = system.failed.catch(() => {});
  actor.kill();
  await failed;
  watch.stop();
  assertEquals(written.at(-1)!.map(({ name, handled, seconds }) => [name, handled, seconds]), [[
    "killed",
    0,
    0,
  ]]);
});
