import { assertEquals } from "@std/assert";
import type { EmbeddedBatch, KeyedBatch, StudentTrainer } from "../../actors/messages.ts";
import type queueKeeper from "../../methods/seed/queue_keeper.ts";
import { KeyQueue } from "../../methods/seed/queue_keeper.ts";
import { initializeQueue } from "../../models/initialize.ts";
import { referenceJson } from "../reference.ts";
import { until, withSystem } from "./runtime/helpers.ts";

/** Where a run stands before its first batch. */
const BEFORE = { epoch: 0, batch: -1 };

/** `count` keys of `dimension` numbers that are all `value`. */
function keysOf(value: number, count: number, dimension: number): Float32Array<ArrayBuffer> {
  return new Float32Array(count * dimension).fill(value);
}

Deno.test("parity: KeyQueue is the original's ring buffer", () => {
  const { ring } = referenceJson("seed_loss.json");
  const size = ring[0].col0.length;
  const dimension = 3;
  const queue = new KeyQueue(
    size,
    dimension,
    { keys: new Float32Array(size * dimension), pointer: 0 },
    BEFORE,
  );
  for (const [i, { ptr, col0 }] of ring.entries()) {
    queue.enqueue(keysOf(i + 1, 4, dimension), { epoch: 0, batch: i });
    const { keys, pointer } = queue.contents();
    assertEquals(pointer, ptr, `pointer after enqueue ${i + 1}`);
    for (let column = 0; column < dimension; column++) {
      const found = Array.from(col0, (_, row) => keys[row * dimension + column]);
      assertEquals(found, col0, `column ${column} after enqueue ${i + 1}`);
    }
  }
});

Deno.test("KeyQueue.enqueue() returns the row where the keys begin, and wraps around", () => {
  const queue = new KeyQueue(6, 2, { keys: initializeQueue(6, 2, 1), pointer: 4 }, BEFORE);
  const rows = [0, 1, 2, 3].map((batch) => queue.enqueue(keysOf(batch, 2, 2), { epoch: 0, batch }));
  assertEquals(rows, [4, 0, 2, 4]);
  assertEquals([...queue.contents().keys], [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
});

Deno.test("KeyQueue.enqueue() puts a batch that goes past the end on at the beginning", () => {
  const queue = new KeyQueue(5, 2, { keys: keysOf(9, 5, 2), pointer: 3 }, BEFORE);
  const rows = [1, 2].map((batch) =>
    queue.enqueue(Float32Array.from([1, 1, 2, 2, 3, 3], (v) => v + 10 * batch), { epoch: 0, batch })
  );
  assertEquals(rows, [3, 1]);
  assertEquals([...queue.contents().keys], [13, 13, 21, 21, 22, 22, 23, 23, 12, 12]);
  assertEquals(queue.contents().pointer, 4);
});

Deno.test("KeyQueue copies what it starts with, and what it gives away", () => {
  const keys = keysOf(1, 4, 2);
  const queue = new KeyQueue(4, 2, { keys, pointer: 0 }, BEFORE);
  keys.fill(9);
  queue.contents().keys.fill(7);
  assertEquals([...queue.contents().keys], [...keysOf(1, 4, 2)]);
});

Deno.test("queue_keeper passes batches on with their rows, and answers while the trainer is slow", async () => {
  await withSystem(async (system) => {
    const rows: number[] = [];
    const isHeld = Promise.withResolvers<void>();
    const trainer = system.listen<StudentTrainer>("trainer", {
      connect() {},
      async train({ queuePointer, position }: KeyedBatch) {
        if (position.batch === 0) await isHeld.promise;
        rows.push(queuePointer);
      },
      standing: () => ({ newest: BEFORE, queue: { keys: new Float32Array(16), pointer: 0 } }),
      weights: () => [],
      save: () => ({ path: "" }),
      profile: () => [],
      look() {},
    });
    const { ref } = system.spawn<typeof queueKeeper>(
      "queue_keeper",
      new URL("../../methods/seed/queue_keeper.ts", import.meta.url),
      {
        size: 8,
        dimension: 2,
        contents: { keys: new Float32Array(16), pointer: 0, small: new Float32Array(16) },
        after: BEFORE,
        next: trainer,
      },
    );
    const batchOf = (batch: number): EmbeddedBatch => ({
      position: { epoch: 0, batch, endsEpoch: false },
      home: "nobody",
      purpose: "train",
      pictures: { count: 0, table: new Uint32Array(0), pixels: new Uint8Array(0) },
      views: new ArrayBuffer(0),
      embeddings: keysOf(batch + 1, 2, 2).buffer,
      // Two small views of each image, of which the first one's key is kept.
      small: {
        views: new ArrayBuffer(0),
        embeddings: Float32Array.of(batch + 0.1, 1, 9, 9, batch + 0.2, 2, 9, 9).buffer,
      },
    });
    // Two can wait at the trainer, a third in the keeper's hands.
    for (let batch = 0; batch < 3; batch++) await ref.tell("enqueue", batchOf(batch));
    await until(async () => (await ref.ask("contents")).pointer === 6);
    assertEquals(rows, []);
    isHeld.resolve();
    await until(() => rows.length === 3);
    assertEquals(rows, [0, 2, 4]);
    // What comes once more leaves the queue as it is.
    await ref.tell("enqueue", batchOf(1));
    await until(() => rows.length === 4);
    const { keys, pointer, small } = await ref.ask("contents");
    assertEquals(small, Float32Array.of(0.1, 1, 0.2, 2, 1.1, 1, 1.2, 2, 2.1, 1, 2.2, 2, 0, 0, 0, 0));
    assertEquals([[...keys], pointer], [[1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 0, 0, 0, 0], 6]);
  });
});
