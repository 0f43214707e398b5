import { assert, assertEquals } from "@std/assert";
import { embed, type EmbedEvent } from "../../mod.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

Deno.test("embed() finds the same neighbours when a program changes and transfers what `rows` events hold", async () => {
  using folder = new RunFolder(24);
  const neighboursOf = async (use: (event: EmbedEvent) => void) => {
    const run = embed({
      pretrained: TINY_TEACHER,
      plugins: [TINY_ENCODER],
      data: folder.data,
      imageSize: 32,
      batchSize: 4,
      workers: 1,
      neighbours: { queries: 3, k: 5, seed: 0 },
    });
    for await (const event of run) use(event);
    return await run.result;
  };
  const undisturbed = await neighboursOf(() => {});
  let buffers = 0;
  const disturbed = await neighboursOf((event) => {
    if (event.type !== "rows") return;
    event.embeddings.fill(9);
    structuredClone(event.embeddings, { transfer: [event.embeddings.buffer] });
    event.rows.length = 0;
    buffers++;
  });
  assertEquals(buffers, 6);
  assertEquals(undisturbed.images, 24);
  assert(undisturbed.neighbours.length === 3);
  assertEquals(disturbed, undisturbed);
});
