/** Actors that are spawned alone, by a program that has nothing else of a run. */
import { assert, assertAlmostEquals, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { readTrainingCheckpoint, transpose } from "../../methods/encoder_training/checkpoint.ts";
import { DISTILL_CHECKPOINT } from "../../methods/seed/checkpoint.ts";
import {
  ActorCrash,
  type ActorRef,
  ActorSystem,
  type Monitor,
  SAMPLE_TEACHER,
  type Sink,
  spawnActor,
  type TrainerEvent,
  type TsvReader,
} from "../../mod.ts";
import { PATIENCE } from "../../actors/pipeline.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { initializeQueue } from "../../models/initialize.ts";
import { batchOf } from "./single_colours.ts";
import { digestFile, RunFolder, TINY_ENCODER } from "./small_run.ts";

const SIZE = 32;

/** The main thread as the reader that gets its buffers back. */
function listenAsReader(system: ActorSystem, onReturn: () => void): ActorRef<TsvReader> {
  return system.listen<TsvReader>("reader", {
    connect() {},
    read: () => ({ images: 0 }),
    recycle: onReturn,
  });
}

Deno.test("student_trainer trains alone: batches in, losses, weights and a checkpoint out", async () => {
  using folder = new RunFolder(4);
  const options = folder.options("out", { batchSize: 4 });
  const system = new ActorSystem({ imports: [TINY_ENCODER] });
  await system.run(async () => {
    const losses: number[] = [];
    let returned = 0;
    const monitor = system.listen<Monitor<TrainerEvent>>("monitor", {
      event(event) {
        if (event.type === "step") losses.push(event.loss);
      },
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
    for (let batch = 0; batch < 3; batch++) await trainer.tell("train", batchOf(batch, 4, "train", SIZE));
    const { path } = await trainer.ask("save", { ends: false }, PATIENCE);
    assertMatch(path!, /checkpoint_0000\.pth\.tar$/);
    assertEquals(losses.length, 3);
    assert(losses.every(Number.isFinite));
    assertEquals(returned, 3);
    const { newest, queuePointer } = await trainer.ask("progress", undefined, PATIENCE);
    assertEquals([newest, queuePointer], [{ epoch: 0, batch: 2 }, 12]);
    using file = await openCheckpointFile(path!);
    const { queue: saved, queuePointer: savedPointer } = readTrainingCheckpoint(DISTILL_CHECKPOINT, file);
    assertEquals([...await savedPointer!.read()], [12n].map(Number));
    const keys = transpose(await saved!.read(), options.dim, options.queue);
    assertEquals(keys.subarray(4 * 128, 8 * 128), initializeQueue(4, 128, 1));
    assert((await trainer.ask("weights", undefined, PATIENCE)).length > 10);

    // What comes after the end is given back, and nothing else.
    await trainer.tell("train", batchOf(3, 4, "train", SIZE));
    assertEquals((await trainer.ask("save", { ends: true }, PATIENCE)).step, 4);
    const digest = await digestFile(path!);
    await trainer.tell("train", batchOf(4, 4, "train", SIZE));
    assertEquals((await trainer.ask("progress", undefined, PATIENCE)).newest, { epoch: 0, batch: 3 });
    assertEquals([losses.length, returned], [4, 5]);
    assertEquals(await digestFile(path!), digest);
  });
});

Deno.test("encoder names the buffer for feature maps that a reader of one's own does not send", async () => {
  const system = new ActorSystem({ imports: [TINY_ENCODER] });
  const embedding = system.run(async () => {
    const next = system.listen<Sink>("sink", { consume() {} });
    const { ref } = spawnActor(system, "encoder", {
      ...{
        encoder: { path: SAMPLE_TEACHER },
        output: "normalized",
        batchSize: 2,
        imageSize: SIZE,
        maps: true,
      },
      next,
    });
    await ref.tell("encode", batchOf(0, 2, "train", SIZE));
    await system.failed;
  });
  const crash = await assertRejects(() => embedding, ActorCrash);
  assertMatch(crash.failure.message, /^reader: expected a batch with the buffer "maps", .*, found none/);
});

Deno.test("evaluator evaluates alone: views in, accuracies out", async () => {
  const system = new ActorSystem({ imports: [TINY_ENCODER] });
  await system.run(async () => {
    let returned = 0;
    const { ref: evaluator } = spawnActor(system, "evaluator", {
      batchSize: 8,
      imageSize: SIZE,
      ks: [1, 3],
      temperature: 0.07,
    });
    await evaluator.tell("connect", { readers: [listenAsReader(system, () => returned++)] });
    await evaluator.ask("use", { arch: "tiny_convnet", seed: 3 }, PATIENCE);
    await evaluator.tell("encode", batchOf(0, 8, "bank", SIZE));
    await evaluator.tell("encode", batchOf(1, 8, "queries", SIZE));
    assertEquals(await evaluator.ask("score", { bank: 8, queries: 8 }, PATIENCE), [
      { top1: 100, top5: 100 },
      { top1: 100, top5: 100 },
    ]);
    assertEquals(returned, 2);
  });
});

Deno.test("evaluator finds what is alike in a gallery: the neighbours of a float64 loop", async () => {
  const system = new ActorSystem({ imports: [TINY_ENCODER] });
  await system.run(async () => {
    const { ref: evaluator } = spawnActor(system, "evaluator", {
      batchSize: 8,
      imageSize: SIZE,
      ks: [],
      temperature: 1,
    });
    await evaluator.tell("connect", { readers: [listenAsReader(system, () => {})] });
    await evaluator.ask("use", { arch: "tiny_convnet", seed: 3 }, PATIENCE);
    for (const batch of [0, 1]) await evaluator.tell("encode", batchOf(batch, 8, "probes", SIZE));
    const found = await evaluator.ask(
      "findNeighbours",
      { images: 16, neighbours: 20, views: true },
      PATIENCE,
    );
    const { features, dimension, neighbours, similarities, views, k } = found;
    assertEquals([k, found.rows, found.labels.length], [15, [...Array(8).keys(), ...Array(8).keys()], 16]);
    assertEquals(views!.pixels.length, 16 * SIZE * SIZE * 4);
    const row = (place: number) => features.subarray(place * dimension, (place + 1) * dimension);
    const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);
    for (let place = 0; place < 16; place++) {
      const own = [...neighbours.subarray(place * k, (place + 1) * k)];
      assertEquals(own.toSorted((a, b) => a - b), [...Array(16).keys()].filter((other) => other !== place));
      for (const [i, other] of own.entries()) {
        const cosine = dot(row(place), row(other)) /
          Math.sqrt(dot(row(place), row(place)) * dot(row(other), row(other)));
        assertAlmostEquals(similarities[place * k + i], cosine, 1e-4);
      }
    }
  });
});
