import { assertEquals, assertRejects } from "@std/assert";
import { ActorStopped, ActorSystem } from "../../actors/runtime/mod.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { withFolder } from "../models/checkpoint/fixtures.ts";
import { sleep, until } from "./runtime/helpers.ts";
import type slowWriter from "./fixtures/slow_writer.ts";

Deno.test("when a trainer has stopped, on any thread, its checkpoint is whole or absent, and stays so", async () => {
  for (const oneThread of [true, false]) {
    await withFolder(async (output) => {
      const system = new ActorSystem({ oneThread });
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
