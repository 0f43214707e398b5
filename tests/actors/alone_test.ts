/** Actors that are spawned alone, by a program that has nothing else of a run. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  type ActorRef,
  ActorSystem,
  type KeyedBatch,
  type Monitor,
  packPictures,
  type Purpose,
  spawnActor,
  type TsvReader,
} from "../../mod.ts";
import { initializeQueue } from "../../models/initialize.ts";
import { RunFolder } from "./small_run.ts";

const SIZE = 32;

/** A batch as it arrives behind the teacher: pictures of one colour each. */
function batchOf(batch: number, count: number, purpose: Purpose): KeyedBatch {
  const pictures = Array.from({ length: count }, (_, i) => ({
    width: 1,
    height: 1,
    pixels: new Uint8Array(4),
    row: i,
    label: i % 2,
  }));
  const views = Uint8Array.from({ length: count * SIZE * SIZE * 4 }, (_, i) => {
    const picture = Math.floor(i / (4 * SIZE * SIZE));
    return picture % 2 === 0 ? 40 + picture + i % 3 : 200 - picture - i % 5;
  });
  return {
    position: { epoch: 0, batch, endsEpoch: false },
    home: "reader",
    purpose,
    pictures: packPictures(pictures),
    views: views.buffer,
    embeddings: initializeQueue(count, 128, batch).buffer,
    queuePointer: batch * count,
  };
}

/** The main thread as the reader that gets its buffers back. */
function listenAsReader(system: ActorSystem, onReturn: () => void): ActorRef<TsvReader> {
  return system.listen<TsvReader>("reader", {
    connect() {},
    read: () => ({ pictures: 0 }),
    recycle: onReturn,
  });
}

Deno.test("student_trainer trains alone: batches in, losses, weights and a checkpoint out", async () => {
  using folder = new RunFolder(4);
  const options = folder.options("out", { batchSize: 4, studentArch: "resnet18", plugins: [] });
  const system = new ActorSystem();
  await system.run(async () => {
    const losses: number[] = [];
    let returned = 0;
    const monitor = system.listen<Monitor>("monitor", {
      step: ({ loss }) => void losses.push(loss),
      saved() {},
      views() {},
      look() {},
      warning() {},
      brokenRow() {},
    });
    const readers = [listenAsReader(system, () => returned++)];
    const queue = { keys: initializeQueue(options.queue, options.dim, 1), pointer: 0 };
    const done = { epoch: 0, batch: 0 };
    const { ref: trainer } = spawnActor(system, "student_trainer", {
      options,
      queue,
      done,
      batchesPerEpoch: 10,
      monitor,
    });
    await trainer.tell("connect", { readers });
    for (let batch = 0; batch < 3; batch++) await trainer.tell("train", batchOf(batch, 4, "train"));
    const { path } = await trainer.ask("save");
    assertMatch(path, /checkpoint_0000\.pth\.tar$/);
    assertEquals(losses.length, 3);
    assert(losses.every(Number.isFinite));
    assertEquals(returned, 3);
    const { newest, queue: after } = await trainer.ask("standing");
    assertEquals([newest, after.pointer], [{ epoch: 0, batch: 2 }, 12]);
    assertEquals(after.keys.subarray(4 * 128, 8 * 128), initializeQueue(4, 128, 1));
    assert((await trainer.ask("weights")).length > 50);
  });
});

Deno.test("evaluator judges alone: views in, accuracies out", async () => {
  const system = new ActorSystem();
  await system.run(async () => {
    let returned = 0;
    const { ref: evaluator } = spawnActor(system, "evaluator", {
      batchSize: 8,
      imageSize: SIZE,
      ks: [1, 3],
      temperature: 0.07,
      readers: [listenAsReader(system, () => returned++)],
    });
    await evaluator.ask("use", { arch: "mobilenetv3_small", seed: 3 });
    await evaluator.tell("encode", batchOf(0, 8, "bank"));
    await evaluator.tell("encode", batchOf(1, 8, "queries"));
    assertEquals(await evaluator.ask("score", { bank: 8, queries: 8 }), [
      { top1: 100, top5: 100 },
      { top1: 100, top5: 100 },
    ]);
    assertEquals(returned, 2);
  });
});
