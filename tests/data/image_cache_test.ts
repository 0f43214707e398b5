import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { BatchReader, type BatchReaderOptions } from "../../data/batch_reader.ts";
import type { Dataset } from "../../data/dataset.ts";
import { estimateDecodedBytes } from "../../data/decoded_size.ts";
import { ImageCache, type ImageCacheHandle, makeMemoryCache } from "../../data/image_cache.ts";
import { followCacheFile, openCacheFile } from "../../data/image_cache_file.ts";
import { CacheTable } from "../../data/image_cache_table.ts";
import { openDataset } from "../../data/open_dataset.ts";
import { packImages } from "../../data/pack.ts";
import { EpochOrder } from "../../data/sampler.ts";
import { UserError } from "../../errors.ts";
import { referenceJson, referencePath } from "../reference.ts";
import { withMount } from "../with_mount.ts";
import { CONFIG, TestFolder } from "./folder.ts";

/** Images of many sizes. */
const TRAIN = referencePath("tsv/train.tsv");
const FULL_DISK = "the cache leaves room on its disk, says so once, and gives what it has";
const FULL_DISK_UNASKED =
  "on a full disk the cache says so once, where it may not ask how much room there is";
const FINGERPRINT = "5a".repeat(32);
const OTHER_FINGERPRINT = "5b".repeat(32);

const failAtOnce = (reason: string) => {
  throw new Error(reason);
};

/** What epochs of batches of two hold, and which rows were read from the data in each. */
async function readEpochs(
  path: string,
  epochs: readonly number[],
  { handle, onProblem = failAtOnce, ...options }: BatchReaderOptions & {
    handle?: ImageCacheHandle;
    onProblem?: (reason: string) => void;
  } = {},
) {
  using dataset = await openDataset(path);
  using cache = handle && ImageCache.open(handle, onProblem);
  const read: number[][] = [];
  const watched: Dataset = Object.create(dataset, {
    path: { value: dataset.path },
    brokenRow: { value: dataset.brokenRow.bind(dataset) },
    readRows: {
      value(rows: ArrayLike<number>) {
        read.at(-1)!.push(...Array.from(rows));
        return dataset.readRows(rows);
      },
    },
  });
  const broken: number[] = [];
  const reader = new BatchReader(watched, {
    ...options,
    cache,
    onBrokenRow: ({ row }) => void broken.push(row),
  });
  const batches: { table: number[]; pixels: Uint8Array }[] = [];
  for (const epoch of epochs) {
    read.push([]);
    const order = new EpochOrder(dataset.rowCount, 3, epoch, 2, { shuffle: true, dropLast: false });
    for (let batch = 0; batch < order.batchCount; batch++) {
      const { table, pixels } = packImages(await reader.read(order, batch));
      batches.push({ table: [...table], pixels: pixels.slice() });
    }
  }
  return { batches, read, broken };
}

/** A row of `width` x 1 pixels, each of the value. */
function put(cache: ImageCache, row: number, width: number, value: number): void {
  cache.put({ row, label: -row, width, height: 1 }, new Uint32Array(width).fill(0xff000000 + value));
}

function take(cache: ImageCache, row: number, maxPixels?: number) {
  const image = cache.get(row, maxPixels);
  if (image === undefined) return undefined;
  const words = new Uint32Array(image.width * image.height);
  image.writeTo(words);
  return { label: image.label, values: [...words].map((word) => word & 0xffffff) };
}

/** A change of some bytes of a file. */
function overwrite(path: string, at: number, change: (bytes: Uint8Array) => void, length = 4): void {
  using file = Deno.openSync(path, { read: true, write: true });
  const bytes = new Uint8Array(length);
  file.seekSync(at, Deno.SeekMode.Start);
  file.readSync(bytes);
  change(bytes);
  file.seekSync(at, Deno.SeekMode.Start);
  file.writeSync(bytes);
}

for (const kind of ["memory", "a file"]) {
  Deno.test(`BatchReader with a cache in ${kind} gives the same batches, and reads and decodes each image once`, async () => {
    using folder = new TestFolder();
    using dataset = await openDataset(TRAIN);
    const { rowCount } = dataset;
    using file = kind === "memory"
      ? undefined
      : await openCacheFile(`${folder.path}/c`, rowCount, FINGERPRINT);
    const handle = file?.handle ?? makeMemoryCache(rowCount, await estimateDecodedBytes(dataset));
    const plain = await readEpochs(TRAIN, [0, 1, 2]);
    assertEquals(plain.read.map((rows) => new Set(rows).size), [rowCount, rowCount, rowCount]);
    const kept = await readEpochs(TRAIN, [0, 1, 2], { handle });
    assertEquals(kept.batches, plain.batches);
    assertEquals(kept.read.map((rows) => rows.length), [rowCount, 0, 0]);
    // Another Worker, which has decoded nothing.
    const other = await readEpochs(TRAIN, [2], { handle });
    assertEquals(other.batches, plain.batches.slice(-other.batches.length));
    assertEquals(other.read, [[]]);
  });
}

Deno.test("BatchReader with a cache meets broken rows as without, in every epoch", async () => {
  const path = referencePath("tsv/bad_rows.tsv");
  const { why } = referenceJson("tsv/expected.json").bad_rows;
  for (const brokenRows of ["replace", "skip"] as const) {
    const plain = await readEpochs(path, [0, 1], { brokenRows });
    const handle = makeMemoryCache(100, 1e7);
    const kept = await readEpochs(path, [0, 1], { brokenRows, handle });
    assertEquals(kept.batches, plain.batches);
    assertEquals(kept.broken, plain.broken);
    assertEquals(kept.broken.toSorted((a, b) => a - b), Object.keys(why).map(Number));
    // A Worker that was started again meets them anew.
    const again = await readEpochs(path, [0, 1], { brokenRows, handle });
    assertEquals([again.batches, again.broken], [plain.batches, plain.broken]);
    assert(again.read.flat().every((row) => plain.broken.includes(row)));
  }
});

Deno.test("ImageCache does not give an image of more pixels than are allowed, which is then broken as without it", async () => {
  const handle = makeMemoryCache(14, 1e7);
  await readEpochs(TRAIN, [0], { handle });
  const { size_wh } = referenceJson("tsv/expected.json").train;
  const areas = size_wh.map(([width, height]: [number, number]) => width * height);
  const maxPixels = areas.toSorted((a: number, b: number) => a - b)[7] - 1;
  const settings = { maxPixels, brokenRows: "skip" } as const;
  const plain = await readEpochs(TRAIN, [1], settings);
  assert(plain.broken.length > 0 && plain.batches.length > 0);
  const kept = await readEpochs(TRAIN, [1], { ...settings, handle });
  assertEquals([kept.batches, kept.broken], [plain.batches, plain.broken]);
});

Deno.test("ImageCache keeps what there is room for, says once that there is no more, and never gives half a row", () => {
  const problems: string[] = [];
  const handle = makeMemoryCache(5, 3 * 256 + 255);
  using first = ImageCache.open(handle, (reason) => problems.push(reason))!;
  using second = ImageCache.open(handle, (reason) => problems.push(reason))!;
  put(first, 0, 85, 1); // 255 bytes
  put(second, 1, 86, 2); // two units
  assertEquals(take(second, 0), { label: 0, values: Array(85).fill(1) });
  assertEquals(take(first, 1), { label: -1, values: Array(86).fill(2) });
  assertEquals(take(first, 1, 85), undefined);
  put(second, 0, 3, 9); // is there already
  assertEquals(take(first, 0)!.values.length, 85);
  assertEquals(problems, []);
  for (const cache of [first, second]) for (const row of [2, 3]) put(cache, row, 1, 3);
  assertEquals(problems, [
    "2 of 5 images are kept decoded, and the others are decoded in every epoch: there is no room for more",
  ]);
  assertEquals([2, 3, 4].map((row) => take(first, row)), [undefined, undefined, undefined]);
  assertEquals(take(first, 1)!.values[85], 2);
});

Deno.test("CacheTable: a row whose reader crashed before it was whole is absent, and another reader's does not overlap it", () => {
  const memory = CacheTable.allocate(2);
  const [crashed, other] = [new CacheTable(memory), new CacheTable(memory)];
  assertEquals(crashed.reserve(3, 10), 0);
  assertEquals([other.has(0), other.get(0)], [false, undefined]);
  assertEquals(other.reserve(7, 10), 3);
  assertEquals(other.reserve(1, 10), undefined);
  const row = {
    row: 0,
    width: 65535,
    height: 65535,
    label: -(2 ** 31),
    place: 2 ** 32 - 1,
    checksum: 2 ** 32 - 1,
  };
  other.publish(row);
  assertEquals([crashed.get(0), crashed.count()], [row, { rows: 2, kept: 1 }]);
});

Deno.test("a file of decoded images serves the next run, unless the data is another", async () => {
  using folder = new TestFolder();
  const path = `${folder.path}/images.cache`;
  const plain = await readEpochs(TRAIN, [0]);
  const run = async (fingerprint: string) => {
    using file = await openCacheFile(path, 14, fingerprint);
    const { batches, read } = await readEpochs(TRAIN, [0], { handle: file.handle });
    assertEquals(batches, plain.batches);
    return { found: file.found, isRebuilt: file.isRebuilt, isWriter: file.isWriter, decoded: read[0].length };
  };
  const known = { isRebuilt: false, isWriter: true };
  assertEquals(await run(FINGERPRINT), { ...known, found: 0, decoded: 14 });
  const { size } = Deno.statSync(path);
  assertEquals(await run(FINGERPRINT), { ...known, found: 14, decoded: 0 });
  assertEquals(await run(OTHER_FINGERPRINT), { ...known, isRebuilt: true, found: 0, decoded: 14 });
  assertEquals(await run(OTHER_FINGERPRINT), { ...known, found: 14, decoded: 0 });
  assertEquals([Deno.statSync(path).size, [...Deno.readDirSync(folder.path)].length], [size, 1]);
});

Deno.test("a file of decoded images that was damaged or cut off is mended row by row", async () => {
  using folder = new TestFolder();
  const path = `${folder.path}/images.cache`;
  const plain = await readEpochs(TRAIN, [0]);
  const run = async () => {
    using file = await openCacheFile(path, 14, FINGERPRINT);
    const { batches, read } = await readEpochs(TRAIN, [0], { handle: file.handle });
    assertEquals(batches, plain.batches);
    return { found: file.found, decoded: read[0] };
  };
  await run();
  const end = Deno.statSync(path).size;
  overwrite(path, 8192, (bytes) => bytes[0] ^= 1); // the pixels of the row that was written first
  const once = await run();
  assertEquals([once.found, once.decoded.length], [14, 1]);
  overwrite(path, 4096 + 16 * 5 + 4, (bytes) => bytes[0] ^= 1); // the label of row 5
  assertEquals(await run(), { found: 14, decoded: [5] });
  assertEquals(await run(), { found: 14, decoded: [] });
  Deno.truncateSync(path, end - 1);
  const cut = await run();
  assertEquals([cut.found < 14, cut.decoded.length], [true, 14 - cut.found]);
  assertEquals((await run()).found, 14);
});

Deno.test("who follows another process waits for its file, and does not write", async () => {
  using folder = new TestFolder();
  const path = `${folder.path}/c`;
  assertEquals(await followCacheFile(path, 4, FINGERPRINT, 0), undefined);
  (await openCacheFile(path, 4, OTHER_FINGERPRINT))[Symbol.dispose]();
  assertEquals(await followCacheFile(path, 4, FINGERPRINT, 0), undefined);
  const waiting = followCacheFile(path, 4, FINGERPRINT);
  using first = await openCacheFile(path, 4, FINGERPRINT);
  using writer = ImageCache.open(first.handle, failAtOnce)!;
  using follower = (await waiting)!;
  assertEquals([first.isRebuilt, first.isWriter, follower.isWriter], [true, true, false]);
  assertEquals(follower.handle.pixels.name, first.handle.pixels.name);
  using reader = ImageCache.open(follower.handle, failAtOnce)!;
  put(writer, 0, 3, 1);
  assertEquals(take(reader, 0)!.values, [1, 1, 1]);
  first[Symbol.dispose]();
  using next = await openCacheFile(path, 4, FINGERPRINT); // the follower has no lock
  assert(next.isWriter);
});

Deno.test("a file that is not of decoded images is refused and left as it is", async () => {
  using folder = new TestFolder();
  const tsv = folder.write("train.tsv", "a\t1\tAAAA\n");
  for (const path of [tsv, folder.path]) {
    const error = await assertRejects(() => openCacheFile(path, 1, FINGERPRINT), UserError);
    assertStringIncludes(error.message, path);
  }
  assertEquals(Deno.readTextFileSync(tsv), "a\t1\tAAAA\n");
  const nowhere = await assertRejects(() => openCacheFile(`${folder.path}/no/c`, 1, FINGERPRINT), UserError);
  assertMatch(nowhere.message, /the folder .*\/no does not exist; create it first/);
});

Deno.test("of two runs with one file the first writes, and the second reads what is there, also what is written later", async () => {
  using folder = new TestFolder();
  const path = `${folder.path}/c`;
  using first = await openCacheFile(path, 4, FINGERPRINT);
  using writer = ImageCache.open(first.handle, failAtOnce)!;
  put(writer, 0, 3, 1);
  using second = await openCacheFile(path, 4, FINGERPRINT);
  assertEquals([first.isWriter, second.isWriter, second.found], [true, false, 1]);
  using reader = ImageCache.open(second.handle, failAtOnce)!;
  put(reader, 1, 3, 9); // is not taken
  assertEquals([take(reader, 0)!.values, take(reader, 1)], [[1, 1, 1], undefined]);
  put(writer, 1, 3, 2);
  assertEquals(take(reader, 1), { label: -1, values: [2, 2, 2] });
  // Nobody replaces what another run writes to.
  const error = await assertRejects(() => openCacheFile(path, 4, OTHER_FINGERPRINT), UserError);
  assertStringIncludes(error.message, "which another run uses or nobody may replace: name another file");
  first[Symbol.dispose]();
  using third = await openCacheFile(path, 4, OTHER_FINGERPRINT);
  assertEquals([third.isRebuilt, third.found], [true, 0]);
  // Who had the old one open goes on with it; who opens it now is told.
  assertEquals(take(reader, 0)!.values, [1, 1, 1]);
  const problems: string[] = [];
  assertEquals(ImageCache.open(second.handle, (reason) => problems.push(reason)), undefined);
  assertEquals(problems, [`${path} was replaced while this run used it; images are decoded`]);
  Deno.removeSync(path);
  assertEquals(ImageCache.open(second.handle, (reason) => problems.push(reason)), undefined);
  assertMatch(problems[1], /is no longer there/);
});

Deno.test({
  name: FULL_DISK,
  async fn() {
    using folder = new TestFolder();
    const disk = `${folder.path}/disk`;
    await withMount(FULL_DISK, disk, "size=64k", async () => {
      using file = await openCacheFile(`${disk}/c`, 100, FINGERPRINT);
      const problems: string[] = [];
      using cache = ImageCache.open(file.handle, (reason) => problems.push(reason))!;
      for (let row = 0; row < 100; row++) put(cache, row, 1024, row);
      assertEquals(problems.length, 1);
      assertMatch(
        problems[0],
        /^\d+ of 100 images are kept decoded.*: the disk of .*c has \d+ kB free, of which 7 kB are left for checkpoints/,
      );
      const kept = Array.from({ length: 100 }, (_, row) => take(cache, row)).filter((row) =>
        row !== undefined
      );
      assert(kept.length > 5 && kept.length < 22, `${kept.length}`);
      for (const [row, { values }] of kept.entries()) assertEquals(values, Array(1024).fill(row));
      Deno.writeFileSync(`${disk}/checkpoint`, new Uint8Array(4096)); // there is room for it
    });
  },
});

Deno.test({
  name: FULL_DISK_UNASKED,
  async fn() {
    using folder = new TestFolder();
    const disk = `${folder.path}/disk`;
    await withMount(FULL_DISK_UNASKED, disk, "size=64k", async () => {
      const program = folder.write("writer.ts", WRITER);
      const { code, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "--quiet",
          "--no-prompt",
          "--no-check",
          "--config",
          CONFIG,
          "--allow-read",
          "--allow-write",
          program,
          `${disk}/c`,
        ],
      }).output();
      assertEquals(code, 1);
      assertMatch(
        new TextDecoder().decode(stderr),
        /\d+ of 100000 images are kept decoded.*c cannot be written: No space left on device/,
      );
      using file = await openCacheFile(`${disk}/c`, 1e5, FINGERPRINT);
      assert(file.found > 0 && file.found < 22, `${file.found}`);
    });
  },
});

/** Writes rows until it is killed; each pixel of a row has its number. */
const WRITER = `
import { ImageCache } from ${JSON.stringify(new URL("../../data/image_cache.ts", import.meta.url).href)};
import { openCacheFile } from ${
  JSON.stringify(new URL("../../data/image_cache_file.ts", import.meta.url).href)
};
const file = await openCacheFile(Deno.args[0], 1e5, ${JSON.stringify(FINGERPRINT)});
const cache = ImageCache.open(file.handle, (reason) => { throw new Error(reason); });
for (let row = file.found; row < 1e5; row++) {
  cache.put({ row, label: row, width: 1024, height: 1 }, new Uint32Array(1024).fill(0xff000000 + row));
  if (row === file.found + 50) console.log("writes");
}
`;

Deno.test("a run that is killed leaves whole rows, and no lock", async () => {
  using folder = new TestFolder();
  const path = `${folder.path}/c`;
  const program = folder.write("writer.ts", WRITER);
  let before = 0;
  for (let time = 0; time < 2; time++) {
    const args = ["run", "--quiet", "--no-check", "-A", "--config", CONFIG, program, path];
    const child = new Deno.Command(Deno.execPath(), { args, stdout: "piped" }).spawn();
    const reader = child.stdout.getReader();
    assertNotEquals((await reader.read()).done, true);
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    using file = await openCacheFile(path, 1e5, FINGERPRINT);
    assertEquals([file.isWriter, file.isRebuilt], [true, false]);
    assert(file.found > before, `${file.found}`);
    before = file.found;
    using cache = ImageCache.open(file.handle, failAtOnce)!;
    for (let row = 0; row < file.found; row++) {
      const { label, values } = take(cache, row)!;
      assertEquals([label, values.every((value) => value === row)], [row, true]);
    }
    assertEquals(take(cache, file.found), undefined);
  }
});
