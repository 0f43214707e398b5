import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { CifarFiles } from "../../data/cifar.ts";
import { BrokenRowError } from "../../data/dataset.ts";
import type { Image } from "../../data/decode.ts";
import { openDataset } from "../../data/open_dataset.ts";
import { UserError } from "../../errors.ts";
import { TestFolder } from "./folder.ts";

/** Records whose byte at (channel, y, x) is `first + 64 * channel + y + x`. */
function records(labels: readonly (readonly number[])[], first = 0): Uint8Array {
  return Uint8Array.from(labels.flatMap((label, record) => [
    ...label,
    ...Array.from({ length: 3072 }, (_, i) => {
      const [channel, y, x] = [i >> 10, (i >> 5) & 31, i & 31];
      return first + record + 64 * channel + y + x;
    }),
  ]));
}

Deno.test("CIFAR-10: the batches of a folder are one, in the order of their numbers", async () => {
  using folder = new TestFolder();
  folder.write("data_batch_2.bin", records([[3], [4]], 2));
  folder.write("data_batch_10.bin", records([[5]], 10));
  folder.write("data_batch_1.bin", records([[9]], 1));
  folder.write("test_batch.bin", records([[0]]));
  const names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
  folder.write("batches.meta.txt", names.join("\n") + "\n\n");
  using cifar = await CifarFiles.open(folder.path);
  assertEquals([cifar.rowCount, cifar.classCount], [4, 10]);
  assertEquals(cifar.classNames, names);
  const passed: number[][] = [];
  const labels = await cifar.readLabels({ onProgress: (...bytes) => passed.push(bytes) });
  assertEquals([...labels], [9, 3, 4, 5]);
  assertEquals(passed, [[4 * 3073, 4 * 3073]]);
  const rows = cifar.readRows([3, 0, 2]);
  const found = rows.map((row) => {
    assert(!(row instanceof BrokenRowError));
    const { width, height, pixels } = row.image as Image;
    assertEquals([width, height, pixels.length], [32, 32, 4096]);
    return [row.key, row.label, ...pixels.subarray(4 * (2 * 32 + 5), 4 * (2 * 32 + 5) + 4)];
  });
  assertEquals(found, [
    ["data_batch_10/0", 5, 17, 81, 145, 255],
    ["data_batch_1/0", 9, 8, 72, 136, 255],
    ["data_batch_2/1", 4, 10, 74, 138, 255],
  ]);
});

Deno.test("CIFAR-10: batches that are missing in a folder are told of", async () => {
  using folder = new TestFolder();
  const warningsOf = async (path: string) => {
    const warnings: string[] = [];
    using _ = await openDataset(path, { onWarning: (text) => warnings.push(text) });
    return warnings;
  };
  const [first] = [2, 3, 5].map((number) => folder.write(`data_batch_${number}.bin`, records([[number]])));
  assertEquals(await warningsOf(folder.path), [
    `${folder.path}: expected data_batch_1.bin to data_batch_5.bin, found no data_batch_1.bin, data_batch_4.bin; only ` +
    "the others are used",
  ]);
  assertEquals(await warningsOf(first), [], "a file that was named is all that was asked for");
  for (const number of [1, 4]) folder.write(`data_batch_${number}.bin`, records([[number]]));
  assertEquals(await warningsOf(folder.path), []);
});

Deno.test("CIFAR-100: the label is the fine one", async () => {
  using folder = new TestFolder();
  const path = folder.write("train.bin", records([[19, 99], [3, 41]]));
  using cifar = await CifarFiles.open(path);
  const rows = cifar.readRows([0, 1]);
  assertEquals(rows.map((row) => row instanceof BrokenRowError ? row.message : row.label), [99, 41]);
  assertEquals([cifar.classCount, cifar.classNames], [100, undefined]);
  assertEquals([...await cifar.readLabels()], [99, 41]);
});

Deno.test("CIFAR: broken files and records are named", async () => {
  using folder = new TestFolder();
  const cut = folder.write("data_batch_1.bin", new Uint8Array(5000));
  await assertRejects(
    () => CifarFiles.open(cut),
    UserError,
    `${cut}: expected records of 3073 bytes (CIFAR-10) or 3074 bytes (CIFAR-100), found 5000 bytes`,
  );
  await assertRejects(() => CifarFiles.open(folder.write("test.bin", "")), UserError, "found 0 bytes");
  const path = folder.write("test_batch.bin", records([[0], [10]]));
  using cifar = await CifarFiles.open(path);
  const [, wrong] = cifar.readRows([0, 1]);
  assertInstanceOf(wrong, BrokenRowError);
  assertEquals(wrong.message, `${path} image 2: expected a label from 0 to 9, found 10`);
  Deno.truncateSync(path, 3000);
  const [gone] = cifar.readRows([0]);
  assertInstanceOf(gone, BrokenRowError);
  folder.write("data_batch_1.bin", records([[0]]));
  folder.write("data_batch_2.bin", records([[0, 0]]));
  await assertRejects(
    () => CifarFiles.open(folder.path),
    UserError,
    "expected a CIFAR-10 file like the others, found CIFAR-100",
  );
});
