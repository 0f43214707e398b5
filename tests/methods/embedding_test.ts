import { assert, assertEquals, assertLess } from "@std/assert";
import { type ActorsEvent, embed, type EmbedEvent } from "../../mod.ts";
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

Deno.test("embed() waits for a reader of its batches that is slower than it", async () => {
  using folder = new RunFolder(60);
  const run = embed({
    pretrained: TINY_TEACHER,
    plugins: [TINY_ENCODER],
    data: folder.data,
    imageSize: 32,
    batchSize: 1,
    workers: 1,
  });
  let told = 0;
  let actors: ActorsEvent["actors"] | undefined;
  const listen = async () => {
    for await (const event of run) {
      if (event.type === "actors") actors = event.actors;
      if (event.type === "rows") told++;
    }
  };
  const listening = listen();
  const rows: number[] = [];
  for await (const batch of run.batches()) {
    rows.push(...batch.rows);
    // The actors have time to go on.
    for (let i = 0; i < 20; i++) await actors!.get("feature_encoder")?.stats().catch(() => {});
    assertLess(told - rows.length, 16);
  }
  await listening;
  assertEquals(rows, Array.from({ length: 60 }, (_, row) => row));
});
