import { assertEquals } from "@std/assert";
import type evaluator from "../../actors/evaluator.ts";
import type { Purpose, ViewBatch } from "../../actors/messages.ts";
import { packImages } from "../../data/pack.ts";
import { openSystem } from "../../methods/watched_actors.ts";
import { TINY_ENCODER } from "./small_run.ts";

const EVALUATOR = new URL("../../actors/evaluator.ts", import.meta.url);
const SIZE = 16;
const IMAGES = 4;

/** A batch of images that are each of one colour and of a class of its own. */
function batchOf(purpose: Purpose): ViewBatch {
  const pixelsOf = (image: number) => new Uint8Array(SIZE * SIZE * 4).fill(60 * image);
  const images = Array.from({ length: IMAGES }, (_, row) => ({
    ...{ width: SIZE, height: SIZE, pixels: pixelsOf(row), row, label: row },
  }));
  return {
    position: { epoch: 0, batch: 0, endsEpoch: true },
    origin: "reader",
    purpose,
    images: packImages(images),
    views: Uint8Array.from(images.flatMap(({ pixels }) => [...pixels])).buffer,
    embeddings: new ArrayBuffer(0),
  };
}

Deno.test("an evaluator forgets all images when it has scored them", async () => {
  const system = openSystem([TINY_ENCODER], () => {});
  await system.run(async () => {
    const { ref } = system.spawn<typeof evaluator>("evaluator", EVALUATOR, {
      ...{ batchSize: IMAGES, imageSize: SIZE, ks: [1], temperature: 0.07 },
    });
    await ref.ask("use", { arch: "tiny_convnet", seed: 1 });
    for (const purpose of ["bank", "queries", "probes"] as const) await ref.ask("encode", batchOf(purpose));
    const survey = (images: number) => ref.ask("findNeighbours", { images, neighbours: 1, views: false });
    assertEquals((await survey(IMAGES)).rows, [0, 1, 2, 3]);
    assertEquals(await ref.ask("score", { bank: IMAGES, queries: IMAGES }), [{ top1: 100, top5: 100 }]);
    const { rows, features } = await survey(0);
    assertEquals([rows.length, features.length], [0, 0]);
  });
});
