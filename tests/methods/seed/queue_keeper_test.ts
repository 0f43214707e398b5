import { assertEquals } from "@std/assert";
import type { EmbeddedBatch } from "../../../actors/messages.ts";
import type { KeyedBatch, StudentTrainer } from "../../../methods/seed/messages.ts";
import type queueKeeper from "../../../methods/seed/queue_keeper.ts";
import { QueuePositions } from "../../../methods/seed/queue_keeper.ts";
import { ringPieces } from "../../../models/ring.ts";
import { referenceJson } from "../../reference.ts";
import { until, withSystem } from "../../actors/runtime/helpers.ts";

/** The batch before a run's first one. */
const BEFORE = { epoch: 0, batch: -1 };

Deno.test("parity: QueuePositions are those of the original's ring buffer", () => {
  const { ring } = referenceJson("seed_loss.json");
  const size = ring[0].col0.length;
  const positions = new QueuePositions({ size, batchSize: 4, pointer: 0, after: BEFORE });
  const keys = new Array(size).fill(0);
  for (const [i, { ptr, col0 }] of ring.entries()) {
    const row = positions.placeOf({ epoch: 0, batch: i });
    for (const { to, count } of ringPieces(row, 4, size)) keys.fill(i + 1, to, to + count);
    assertEquals(keys, col0, `the column after enqueue ${i + 1}`);
    assertEquals((row + 4) % size, ptr, `pointer after enqueue ${i + 1}`);
  }
});

Deno.test("QueuePositions go on from the pointer, wrap around, and give a batch its place once", () => {
  const positions = new QueuePositions({ size: 6, batchSize: 2, pointer: 4, after: { epoch: 1, batch: 2 } });
  assertEquals(positions.placeOf({ epoch: 1, batch: 3 }), 4);
  assertEquals(positions.placeOf({ epoch: 2, batch: 0 }), 0);
  // Batches that come once more take no place.
  positions.placeOf({ epoch: 1, batch: 3 });
  positions.placeOf({ epoch: 2, batch: 0 });
  assertEquals(positions.placeOf({ epoch: 2, batch: 1 }), 2);
  const uneven = new QueuePositions({ size: 5, batchSize: 3, pointer: 3, after: BEFORE });
  assertEquals([0, 1, 2].map((batch) => uneven.placeOf({ epoch: 0, batch })), [3, 1, 4]);
});

Deno.test("queue_keeper passes batches on with their rows, as they are, while the trainer is slow", async () => {
  await withSystem(async (system) => {
    const rows: number[] = [];
    const views: number[] = [];
    const isHeld = Promise.withResolvers<void>();
    const trainer = system.listen<StudentTrainer>("trainer", {
      connect() {},
      async train({ queuePointer, position, views: buffer }: KeyedBatch) {
        if (position.batch === 0) await isHeld.promise;
        rows.push(queuePointer);
        views.push(buffer.byteLength);
      },
      progress: () => ({ newest: BEFORE, queuePointer: 0 }),
      weights: () => [],
      save: () => ({ path: "", step: 0 }),
      profile: () => [],
      requestSnapshot() {},
    });
    const { ref } = system.spawn<typeof queueKeeper>(
      "queue_keeper",
      new URL("../../../methods/seed/queue_keeper.ts", import.meta.url),
      { size: 8, batchSize: 2, pointer: 0, after: BEFORE, next: trainer },
    );
    const batchOf = (batch: number): EmbeddedBatch => ({
      position: { epoch: 0, batch, endsEpoch: false },
      origin: "nobody",
      purpose: "train",
      images: { count: 0, table: new Uint32Array(0), pixels: new Uint8Array(0) },
      views: new ArrayBuffer(batch + 1),
      embeddings: new ArrayBuffer(16),
    });
    // Two can wait at the trainer, a third in the keeper's hands.
    for (let batch = 0; batch < 3; batch++) await ref.tell("consume", batchOf(batch));
    assertEquals(rows, []);
    isHeld.resolve();
    await until(() => rows.length === 3);
    assertEquals([rows, views], [[0, 2, 4], [1, 2, 3]]);
  });
});
