import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { EpochOrder } from "../../data/sampler.ts";
import { UserError } from "../../errors.ts";

function allBatches(order: EpochOrder): number[][] {
  return Array.from({ length: order.batchCount }, (_, batch) => [...order.batch(batch)]);
}

const byNumber = (a: number, b: number) => a - b;

Deno.test("EpochOrder has every row once", () => {
  const order = new EpochOrder(1003, 7, 2, 50, { dropLast: false });
  const batches = allBatches(order);
  assertEquals(batches.map((batch) => batch.length), [...Array(20).fill(50), 3]);
  assertEquals(batches.flat().sort(byNumber), Array.from({ length: 1003 }, (_, i) => i));
});

Deno.test("EpochOrder drops the rows that fill no batch, others in each epoch", () => {
  const dropped = [0, 1, 2].map((epoch) => {
    const order = new EpochOrder(105, 7, epoch, 10);
    assertEquals(order.batchCount, 10);
    const seen = new Set(allBatches(order).flat());
    assertEquals(seen.size, 100);
    return Array.from({ length: 105 }, (_, i) => i).filter((row) => !seen.has(row));
  });
  assertNotEquals(dropped[0], dropped[1]);
  assertNotEquals(dropped[1], dropped[2]);
});

Deno.test("EpochOrder is a function of seed and epoch", () => {
  const rows = (seed: number, epoch: number) => allBatches(new EpochOrder(64, seed, epoch, 64))[0];
  assertEquals(rows(1, 0), rows(1, 0));
  assertNotEquals(rows(1, 0), rows(1, 1));
  assertNotEquals(rows(1, 0), rows(2, 0));
  assertNotEquals(rows(1, 0), rows(0, 0).toSorted(byNumber));
});

Deno.test("EpochOrder keeps its order from version to version, so that old runs can be resumed", () => {
  assertEquals([...new EpochOrder(1000, 1, 0, 8).batch(0)], [948, 838, 710, 508, 241, 992, 908, 644]);
  assertEquals([...new EpochOrder(1000, 1, 0, 8).substitutes(3)].slice(0, 4), [789, 300, 811, 322]);
});

Deno.test("EpochOrder shuffles evenly", () => {
  // Row 0's place over 4000 epochs, in 8 eighths of the order: 500 each, within five standard deviations (21).
  const eighths = new Array(8).fill(0);
  for (let epoch = 0; epoch < 4000; epoch++) {
    eighths[Math.floor(new EpochOrder(16, 3, epoch, 16).batch(0).indexOf(0) / 2)]++;
  }
  for (const count of eighths) assert(Math.abs(count - 500) < 105, `${eighths}`);
});

Deno.test("EpochOrder without shuffle is the file's order", () => {
  const order = new EpochOrder(7, 1, 5, 3, { shuffle: false, dropLast: false });
  assertEquals(allBatches(order), [[0, 1, 2], [3, 4, 5], [6]]);
});

Deno.test("EpochOrder.batch() gives any batch by itself", () => {
  const whole = allBatches(new EpochOrder(100, 4, 1, 9));
  assertEquals([...new EpochOrder(100, 4, 1, 9).batch(8)], whole[8]);
  const order = new EpochOrder(100, 4, 1, 9);
  order.batch(3).fill(0);
  assertEquals([...order.batch(3)], whole[3], "a caller may keep or change what it was given");
  for (const index of [-1, 11, 0.5]) {
    assertThrows(() => order.batch(index), RangeError, "a batch from 0 to 10");
  }
});

Deno.test("EpochOrder.batchesOf() shares an epoch among Workers, from any step", () => {
  const order = new EpochOrder(230, 1, 0, 10);
  for (const workers of [1, 2, 3, 7, 40]) {
    for (const from of [0, 1, 5, 22, 23]) {
      const shares = Array.from(
        { length: workers },
        (_, worker) => [...order.batchesOf(worker, workers, from)],
      );
      for (const [worker, share] of shares.entries()) {
        assert(share.every((batch) => batch % workers === worker));
        assertEquals(share, share.toSorted(byNumber));
      }
      assertEquals(
        shares.flat().sort(byNumber),
        Array.from({ length: 23 - from }, (_, i) => i + from),
        `${workers} workers from ${from}`,
      );
    }
  }
});

Deno.test("EpochOrder.substitutes() meets every row once, from another start for each position", () => {
  for (const count of [1, 2, 6, 97, 720]) {
    const order = new EpochOrder(count, 5, 0, 1);
    for (const position of [0, 1, count - 1]) {
      const rows = [...order.substitutes(position)];
      assertEquals(rows, [...new EpochOrder(count, 5, 0, 1).substitutes(position)]);
      assertEquals(rows.toSorted(byNumber), Array.from({ length: count }, (_, i) => i));
    }
  }
  const large = new EpochOrder(1_000_000, 5, 0, 1);
  assertEquals([...large.substitutes(9)].length, 1000);
  const starts = Array.from({ length: 50 }, (_, position) => large.substitutes(position).next().value);
  assertEquals(new Set(starts).size, 50);
});

Deno.test("EpochOrder refuses batches that cannot be filled", () => {
  assertThrows(() => new EpochOrder(10, 1, 0, 16), UserError, "10 rows, fewer than one batch of 16");
  assertEquals(new EpochOrder(10, 1, 0, 16, { dropLast: false }).batchCount, 1);
  for (const size of [0, -1, 2.5, NaN]) {
    assertThrows(() => new EpochOrder(10, 1, 0, size), UserError, "batch size");
  }
});

Deno.test("EpochOrder of some rows has these alone, substitutes too, in an order of their places", () => {
  const rows = Uint32Array.of(3, 14, 15, 92, 65);
  const order = new EpochOrder(100, 7, 2, 2, { dropLast: false, rows });
  assertEquals(order.batchCount, 3);
  assertEquals(allBatches(order).flat().sort(byNumber), [...rows].sort(byNumber));
  const places = allBatches(new EpochOrder(5, 7, 2, 2, { dropLast: false })).flat();
  assertEquals(allBatches(order).flat(), places.map((place) => rows[place]));
  assertEquals([...order.substitutes(1)].sort(byNumber), [...rows].sort(byNumber));
  const error = assertThrows(() => new EpochOrder(100, 7, 2, 6, { rows }), UserError);
  assert(error.message.startsWith("The data has 5 rows, fewer than one batch of 6"), error.message);
});

Deno.test("EpochOrder with a share has that part of each batch, of an incomplete one too", () => {
  const whole = new EpochOrder(43, 7, 1, 10, { dropLast: false });
  for (const count of [1, 2, 5]) {
    const shares = Array.from(
      { length: count },
      (_, index) => new EpochOrder(43, 7, 1, 10, { dropLast: false, share: { index, of: count } }),
    );
    for (let batch = 0; batch < whole.batchCount; batch++) {
      const rows = [...whole.batch(batch)];
      assertEquals(shares.flatMap((share) => [...share.batch(batch)]), rows);
      for (const share of shares) {
        const own = [...share.batch(batch)];
        if (own.length > 0) assertEquals(share.firstPlace(batch), 10 * batch + rows.indexOf(own[0]));
        assertEquals(
          [...share.rowsOfOthers(batch), ...own].toSorted(byNumber),
          rows.toSorted(byNumber),
        );
      }
    }
    assertEquals(shares.map((share) => share.batch(0).length), Array(count).fill(10 / count));
    assertEquals(shares.map((share) => share.batch(4).length).reduce((sum, length) => sum + length), 3);
  }
});
