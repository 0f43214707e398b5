import { assertEquals, assertGreater, assertRejects } from "@std/assert";
import { ActorStopped, ActorSystem, type TraceSpan } from "../../actors/runtime/mod.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { withFolder } from "../models/checkpoint/fixtures.ts";
import { sleep, until } from "./runtime/helpers.ts";
import type slowWriter from "./fixtures/slow_writer.ts";

Deno.test("when a trainer has stopped, on any thread, its checkpoint is whole or absent, and stays so", async () => {
  for (const oneThread of [true, false]) {
    await withFolder(async (output) => {
      // However long the writing takes: on a busy machine more than the usual 3 s.
      const system = new ActorSystem({ oneThread, graceMs: 60_000 });
      await system.run(async () => {
        const url = new URL("./fixtures/slow_writer.ts", import.meta.url);
        const writer = system.spawn<typeof slowWriter>("writer", url, { options: { output } });
        const path = `${output}/c.pth.tar`;
        const isStopped = assertRejects(() => writer.ref.ask("save", path), ActorStopped);
        // It is being written as soon as there is anything.
        await until(() => [...Deno.readDirSync(output)].length > 0);
        await writer.stop();
        await isStopped;

        const files = () =>
          [...Deno.readDirSync(output)].map(({ name }) => [name, Deno.statSync(`${output}/${name}`).size]);
        const left = files();
        await sleep(500);
        assertEquals(files(), left);
        if (left.some(([name]) => name === "c.pth.tar")) (await openCheckpointFile(path)).close();
      });
    });
  }
});

Deno.test("a checkpoint that is written counts as work, not as a wait for another actor", async () => {
  await withFolder(async (output) => {
    const spans: TraceSpan[] = [];
    const system = new ActorSystem({ onTrace: (actor, some) => actor === "writer" && spans.push(...some) });
    await system.run(async () => {
      const url = new URL("./fixtures/slow_writer.ts", import.meta.url);
      const writer = system.spawn<typeof slowWriter>("writer", url, { options: { output } });
      await writer.ref.ask("save", `${output}/c.pth.tar`);
      const { busyMs, waitingMs } = await writer.stats(); // the watchdog goes by these
      assertGreater(busyMs, waitingMs);
    });
    const [work] = spans.filter(({ kind }) => kind === "work");
    assertEquals(work.name, "checkpoint");
    const covers = ({ startMs, durationMs }: TraceSpan) =>
      work.startMs <= startMs && startMs + durationMs <= work.startMs + work.durationMs;
    assertEquals(spans.filter(({ kind }) => kind === "wait").map(covers), [true]);
  });
});
