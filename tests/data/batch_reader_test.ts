import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { BatchReader, type BatchReaderOptions } from "../../data/batch_reader.ts";
import { decodeImage } from "../../data/decode.ts";
import { packImages } from "../../data/pack.ts";
import { SAMPLE_DATA } from "../../data/sample.ts";
import { EpochOrder, type EpochOrderOptions } from "../../data/sampler.ts";
import type { BrokenRowError } from "../../data/dataset.ts";
import { TsvFile } from "../../data/tsv.ts";
import { UserError } from "../../errors.ts";
import { referenceJson, referencePath } from "../reference.ts";
import { ONE_PIXEL, TestFolder } from "./folder.ts";

/** 60 rows, of which those whose number ends in 3 or 7 are broken, in two ways. */
function writeSpoiledTsv(folder: TestFolder): string {
  return folder.write(
    "a.tsv",
    Array.from({ length: 60 }, (_, i) => {
      const image = i % 10 === 3 ? "?" : i % 10 === 7 ? "AAAA" : ONE_PIXEL;
      return `key${i}\t${i}\t${image}\n`;
    }).join(""),
  );
}

/** Rows of every batch, read by some number of readers that know nothing of each other. */
async function readEpoch(
  path: string,
  workers: number,
  { from = 0, reader = {}, order = {} }: {
    from?: number;
    reader?: BatchReaderOptions;
    order?: EpochOrderOptions;
  } = {},
): Promise<number[][]> {
  const batches: number[][] = [];
  for (let worker = 0; worker < workers; worker++) {
    using tsv = await TsvFile.open(path);
    const epoch = new EpochOrder(tsv.rowCount, 11, 3, 8, order);
    const batchReader = new BatchReader(tsv, reader);
    for (const batch of epoch.batchesOf(worker, workers, from)) {
      batches[batch] = (await batchReader.read(epoch, batch)).map(({ row }) => row);
    }
  }
  return batches;
}

const isBroken = (row: number) => row % 10 === 3 || row % 10 === 7;

Deno.test("BatchReader gives decoded images in the batch's order", async () => {
  using tsv = await TsvFile.open(referencePath("tsv/train.tsv"));
  const { labels, size_wh } = referenceJson("tsv/expected.json").train;
  const order = new EpochOrder(tsv.rowCount, 1, 0, tsv.rowCount);
  const images = await new BatchReader(tsv).read(order, 0);
  assertEquals(images.map(({ row }) => row), [...order.batch(0)]);
  for (const image of images) {
    const { row, label, width, height } = image;
    assertEquals([label, [width, height]], [labels[row], size_wh[row]]);
    const expected = await tsv.readRow(row);
    assertEquals(packImages([image]).pixels, (await decodeImage(expected.image)).pixels);
  }
});

Deno.test("BatchReader fills batches the same way for any number of Workers", async () => {
  using folder = new TestFolder();
  const path = writeSpoiledTsv(folder);
  const alone = await readEpoch(path, 1);
  assertEquals(alone.map((rows) => rows.length), Array(7).fill(8));
  assert(alone.flat().every((row) => !isBroken(row)));
  for (const rows of alone) assertEquals(new Set(rows).size, rows.length, "no image twice in a batch");
  for (const workers of [2, 3, 5]) assertEquals(await readEpoch(path, workers), alone);
  const order = new EpochOrder(60, 11, 3, 8);
  for (const [batch, rows] of alone.entries()) {
    for (const [i, row] of order.batch(batch).entries()) assert(isBroken(row) || rows[i] === row);
  }
});

Deno.test("BatchReader fills batches the same way after a resume", async () => {
  using folder = new TestFolder();
  const path = writeSpoiledTsv(folder);
  const whole = await readEpoch(path, 1);
  const resumed = await readEpoch(path, 2, { from: 4 });
  assertEquals(resumed.slice(4), whole.slice(4));
});

Deno.test("BatchReader reports each broken row once", async () => {
  using folder = new TestFolder();
  using tsv = await TsvFile.open(writeSpoiledTsv(folder));
  const reported: BrokenRowError[] = [];
  const reader = new BatchReader(tsv, { onBrokenRow: (error) => reported.push(error) });
  for (const epoch of [0, 1, 2]) {
    const order = new EpochOrder(60, 1, epoch, 20);
    for (let batch = 0; batch < order.batchCount; batch++) await reader.read(order, batch);
  }
  const rows = reported.map((error) => error.row).sort((a, b) => a - b);
  assertEquals(rows, Array.from({ length: 60 }, (_, i) => i).filter(isBroken));
  assertEquals(rows.length, 12);
  const message = reported.find((error) => error.row === 7)!.message;
  assertEquals(
    message,
    `${tsv.path} line 8: expected a JPEG, PNG, WebP, GIF, BMP, TIFF or PPM image, found 3 bytes that start with 00 00 00`,
  );
});

Deno.test("BatchReader leaves broken rows out where they are to be skipped", async () => {
  using folder = new TestFolder();
  const path = writeSpoiledTsv(folder);
  const batches = await readEpoch(path, 2, {
    reader: { brokenRows: "skip" },
    order: { shuffle: false, dropLast: false },
  });
  assertEquals(batches.flat(), Array.from({ length: 60 }, (_, i) => i).filter((row) => !isBroken(row)));
});

Deno.test("parity: BatchReader fills a batch from the two good rows of bad_rows.tsv", async () => {
  using tsv = await TsvFile.open(referencePath("tsv/bad_rows.tsv"));
  const good: number[] = referenceJson("tsv/expected.json").bad_rows.good_row_indexes;
  const images = await new BatchReader(tsv).read(new EpochOrder(tsv.rowCount, 1, 0, tsv.rowCount), 0);
  assertEquals(images.length, tsv.rowCount);
  assertEquals([...new Set(images.map(({ row }) => row))].sort((a, b) => a - b), good);
});

Deno.test("BatchReader gives up where no row is good", async () => {
  using folder = new TestFolder();
  using tsv = await TsvFile.open(folder.write("a.tsv", "a\t1\t?\nb\n"));
  await assertRejects(
    () => new BatchReader(tsv).read(new EpochOrder(2, 1, 0, 1), 0),
    UserError,
    "expected images, found none in the 2 rows tried",
  );
});

Deno.test("BatchReader applies the limit on pixels", async () => {
  using tsv = await TsvFile.open(referencePath("tsv/train.tsv"));
  const reader = new BatchReader(tsv, { maxPixels: 1, brokenRows: "skip" });
  assertEquals(await reader.read(new EpochOrder(tsv.rowCount, 1, 0, 2), 0), []);
});

Deno.test("BatchReader and packImages() make the same bytes of the sample each time", async () => {
  using tsv = await TsvFile.open(`${SAMPLE_DATA}/train.tsv`);
  const order = new EpochOrder(tsv.rowCount, 5, 0, 64);
  const first = packImages(await new BatchReader(tsv).read(order, 17));
  const again = packImages(await new BatchReader(tsv).read(order, 17), new ArrayBuffer(1 << 20));
  assertEquals(again, first);
  assertNotEquals(packImages(await new BatchReader(tsv).read(order, 18)).pixels, first.pixels);
});

Deno.test("BatchReader fills the shares of a batch as it fills the whole, and takes no image of another share", async () => {
  using folder = new TestFolder();
  const path = writeSpoiledTsv(folder);
  const alone = await readEpoch(path, 1);
  const shares = await Promise.all(
    [0, 1].map((index) => readEpoch(path, 1, { order: { share: { index, of: 2 } } })),
  );
  const order = new EpochOrder(60, 11, 3, 8);
  for (const [batch, rows] of alone.entries()) {
    const both = shares.flatMap((share) => share[batch]);
    assertEquals(new Set(both).size, 8, "no image twice in a batch");
    // The substitutes too, but where two broken rows of one batch would have the same one.
    assertEquals(
      both.map((row, i) => row === rows[i]).filter((same) => !same).length,
      0,
      `${both}, not ${rows}`,
    );
    for (const [i, row] of order.batch(batch).entries()) if (!isBroken(row)) assertEquals(both[i], row);
  }
});

Deno.test("BatchReader fills the shares of a batch with many broken rows as it fills the whole, and tells of its own", async () => {
  using folder = new TestFolder();
  const goodRows: Record<string, (row: number) => boolean> = {
    "half.tsv": (row) => row % 2 === 0,
    "three.tsv": (row) => row % 20 === 0, // fewer than a batch has
    "one.tsv": (row) => row === 31,
  };
  for (const [name, isGood] of Object.entries(goodRows)) {
    const rows = Array.from({ length: 60 }, (_, i) => `key${i}\t${i}\t${isGood(i) ? ONE_PIXEL : "?"}\n`);
    const path = folder.write(name, rows.join(""));
    const alone = await readEpoch(path, 1);
    for (const count of [2, 4]) {
      const shares: number[][][] = [];
      for (let index = 0; index < count; index++) {
        const order = { share: { index, of: count } };
        const told: number[] = [];
        const reader = { onBrokenRow: ({ row }: BrokenRowError) => void told.push(row) };
        shares.push(await readEpoch(path, 1, { order, reader }));
        const epoch = new EpochOrder(60, 11, 3, 8, order);
        const own = alone.flatMap((_, batch) => [...epoch.batch(batch)]).filter((row) => !isGood(row));
        assertEquals(own.filter((row) => !told.includes(row)), []);
        assertEquals(new Set(told).size, told.length);
      }
      assertEquals(alone.map((_, batch) => shares.flatMap((share) => share[batch])), alone, name);
    }
  }
});
