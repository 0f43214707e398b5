import { assertEquals } from "@std/assert";
import { LabelledFeatures } from "../../actors/labelled_features.ts";
import type evaluator from "../../actors/evaluator.ts";
import type { Purpose, ViewBatch } from "../../actors/messages.ts";
import { ActorSystem } from "../../actors/runtime/mod.ts";
import { packImages } from "../../data/pack.ts";
import { openSystem } from "../../methods/watched_actors.ts";
import { WeightedKnn } from "../../models/knn.ts";
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

Deno.test("LabelledFeatures.takeChunks() gives the chunks in order, and keeps none that was taken", () => {
  const features = new LabelledFeatures(2);
  const chunks = [[1, 2], [3, 4, 5, 6], [], [7, 8]].map((values) => Float32Array.from(values));
  for (const chunk of chunks) features.add(chunk, [...chunk.filter((_, i) => i % 2 === 0)]);
  const taken = [];
  for (const chunk of features.takeChunks()) {
    taken.push(chunk);
    assertEquals(features.chunks.length, chunks.length - taken.length);
  }
  assertEquals(taken, chunks);
  assertEquals(features.labels, [1, 3, 5, 7]);
});

Deno.test("an evaluator holds one bank for all numbers of neighbours, and no features beside it", async () => {
  const system = new ActorSystem({ oneThread: true, imports: [TINY_ENCODER] }); // what it calls is seen here
  const { createBuffer } = GPUDevice.prototype;
  const banks: string[] = [];
  GPUDevice.prototype.createBuffer = function (given) {
    if (/knn bank( \d+ features)?$/.test(given.label ?? "")) banks.push(given.label!);
    return createBuffer.call(this, given);
  };
  const { addToBank } = WeightedKnn.prototype;
  const kept: number[] = [];
  const { takeChunks } = LabelledFeatures.prototype;
  let bank: LabelledFeatures | undefined;
  LabelledFeatures.prototype.takeChunks = function () {
    bank = this;
    return takeChunks.call(this);
  };
  WeightedKnn.prototype.addToBank = async function (...given) {
    await addToBank.apply(this, given);
    kept.push(bank!.chunks.length);
  };
  try {
    await system.run(async () => {
      const { ref } = system.spawn<typeof evaluator>("evaluator", EVALUATOR, {
        ...{ batchSize: IMAGES, imageSize: SIZE, ks: [1, 2, 3], temperature: 0.07, voters: 2 * IMAGES },
      });
      await ref.ask("use", { arch: "tiny_convnet", seed: 1 });
      assertEquals(banks, ["room for a knn bank"]); // it is asked for before the first image comes
      for (const purpose of ["bank", "bank", "queries"] as const) await ref.ask("encode", batchOf(purpose));
      const accuracies = await ref.ask("score", { bank: 2 * IMAGES, queries: IMAGES });
      assertEquals(accuracies, Array.from({ length: 3 }, () => ({ top1: 100, top5: 100 })));
    });
  } finally {
    GPUDevice.prototype.createBuffer = createBuffer;
    WeightedKnn.prototype.addToBank = addToBank;
    LabelledFeatures.prototype.takeChunks = takeChunks;
  }
  assertEquals(banks, ["room for a knn bank", "knn bank 0 features"]);
  assertEquals(kept, [1, 0]);
});
