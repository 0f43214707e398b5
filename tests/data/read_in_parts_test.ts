import { assert, assertEquals } from "@std/assert";
import { BrokenRowError, type Dataset } from "../../data/dataset.ts";
import { estimateDecodedBytes } from "../../data/decoded_size.ts";
import { fingerprintDataset } from "../../data/fingerprint.ts";
import { readInParts } from "../../data/read_in_parts.ts";
import { TsvFile } from "../../data/tsv.ts";
import { rowsOf, TestFolder } from "./folder.ts";

/** Rows that may be in memory at a time. */
const MOST = 16;

/** Data, and how many of its rows each reading asked for. */
function watched(dataset: TsvFile): { data: Dataset; asked: number[] } {
  const asked: number[] = [];
  const readRows = (rows: ArrayLike<number>) => {
    asked.push(rows.length);
    return dataset.readRows(rows);
  };
  return {
    data: Object.create(dataset, { readRows: { value: readRows }, rowCount: { value: dataset.rowCount } }),
    asked,
  };
}

Deno.test("readInParts() gives all rows in the order asked for, a few at a time", async () => {
  using folder = new TestFolder();
  using tsv = await TsvFile.open(folder.write("a.tsv", rowsOf(40)));
  const { data, asked } = watched(tsv);
  const order = Uint32Array.from({ length: 35 }, (_, i) => i * 7 % 40);
  const found = (await Array.fromAsync(readInParts(data, order))).flat();
  assertEquals(found.map((row) => row instanceof BrokenRowError ? -1 : row.row), [...order]);
  assertEquals(asked, [16, 16, 3]);
  assertEquals(await Array.fromAsync(readInParts(data, [])), []);
});

Deno.test("the start of a run looks at rows a few at a time: an image may have many megabytes", async () => {
  using folder = new TestFolder();
  using tsv = await TsvFile.open(folder.write("a.tsv", rowsOf(300).replace("key7\t7\t", "key7\tno label\t")));
  const { data, asked } = watched(tsv);
  // As of all rows at once: files on disk, such as caches, are known by it.
  assertEquals(
    await fingerprintDataset(data),
    "6b31398db5bd4f6f2303082eed0adc71df6ff7c36c80c5bd2ae0dd05b5535e01",
  );
  assertEquals(await estimateDecodedBytes(data), 76_800);
  assertEquals(asked.reduce((sum, rows) => sum + rows), 64 + 256);
  assert(Math.max(...asked) <= MOST, `${asked}`);
});
