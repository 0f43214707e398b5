import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import type { NoticeEvent } from "../../actors/events.ts";
import { type ImageCacheOptions, ImageCaches } from "../../actors/image_caches.ts";
import type { CacheFileHandle } from "../../data/image_cache_file.ts";
import { UserError } from "../../errors.ts";
import { RunFolder, sampleRows } from "./small_run.ts";
import { TestFolder } from "../data/folder.ts";

/** 40 images of 32 x 32 take 122,880 bytes, ten take 30,720. */
const [TRAIN_BYTES, TEST_BYTES] = [40 * 3072, 10 * 3072];

/** What is kept of a training and a test set where there is so much memory. */
async function openWith(folder: RunFolder, options: Partial<ImageCacheOptions>) {
  const [train, test] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  using caches = await ImageCaches.open({ cache: "auto", data: [train, test], ...options });
  const roomOf = (path: string) => {
    const pixels = caches.of(path)?.pixels;
    return pixels instanceof SharedArrayBuffer ? pixels.maxByteLength : pixels?.path;
  };
  return { description: caches.description, rooms: [roomOf(train), roomOf(test)] };
}

Deno.test("images are kept in a tenth of the memory and in half of what is free, the training images first", async () => {
  using folder = new RunFolder(40, 10);
  const much = 1e9;
  const both = await openWith(folder, { memory: { total: much, available: much } });
  // A quarter more than the estimate.
  assertEquals(both.rooms, [TRAIN_BYTES * 1.25, TEST_BYTES * 1.25]);
  assertEquals(both.description, "123 kB of memory for train.tsv; 31 kB of memory for test.tsv");
  const tight = { total: 10 * TRAIN_BYTES, available: much };
  const one = await openWith(folder, { memory: tight });
  assertEquals(one.rooms, [TRAIN_BYTES, undefined]);
  assertMatch(
    one.description,
    /^123 kB of memory for train\.tsv; test\.tsv would take 31 kB, and 0 kB may be used/,
  );
  for (
    const memory of [{ ...tight, total: tight.total - 10 }, { total: much, available: 2 * TRAIN_BYTES - 2 }]
  ) {
    const small = await openWith(folder, { memory });
    assertEquals(small.rooms[0], undefined);
    assertMatch(
      small.description,
      /train\.tsv would take 123 kB, and 123 kB may be used \(--cache memory takes more/,
    );
  }
});

Deno.test("a word that says nothing about a cache is not taken for a file", async () => {
  using folder = new RunFolder(4);
  await assertRejects(() => openWith(folder, { cache: "none" }), UserError, "did you mean off?");
});

Deno.test("a file of decoded images is for those to learn from: an evaluation leaves it as it is", async () => {
  using folder = new RunFolder(40, 10);
  const cache = join(folder.path, "images.cache");
  await openWith(folder, { cache });
  const before = Deno.readFileSync(cache);
  const test = join(folder.data, "test.tsv");
  using caches = await ImageCaches.open({ cache, data: [test], learns: false, isReadOnce: true });
  assertEquals([caches.of(test), caches.description], [
    undefined,
    `off: ${cache} is for images to learn from; each image is read once`,
  ]);
  assertEquals(Deno.readFileSync(cache), before);
});

Deno.test("a file of decoded images is made anew where the classes have other numbers", async () => {
  using folder = new RunFolder(1);
  const image = Uint8Array.fromBase64(sampleRows("train.tsv", 1).trim().split("\t").at(-1)!);
  const data = join(folder.path, "classes");
  for (const [name, count] of [["a", 300], ["c", 1]] as const) {
    Deno.mkdirSync(join(data, name), { recursive: true });
    for (let i = 0; i < count; i++) Deno.writeFileSync(join(data, name, `${i}.jpg`), image);
  }
  const notices: NoticeEvent[] = [];
  const open = async () => {
    const cache = join(folder.path, "images.cache");
    using _ = await ImageCaches.open({ cache, data: [data] }, (notice) => notices.push(notice));
  };
  await open();
  await open();
  assertEquals(notices, []);
  Deno.mkdirSync(join(data, "b")); // none of the 64 images that are looked at is behind it
  await open();
  assertMatch(notices.map(({ text }) => text).join(), /it is made anew/);
});

Deno.test("a file of decoded images stays that of a TSV file, whatever names its classes are given", async () => {
  using folder = new RunFolder(4);
  const cache = join(folder.path, "images.cache");
  const notices: NoticeEvent[] = [];
  const open = async () => {
    const data = [join(folder.data, "train.tsv")];
    using _ = await ImageCaches.open({ cache, data }, (notice) => notices.push(notice));
  };
  await open();
  Deno.writeTextFileSync(join(folder.data, "classes.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
  await open();
  assertEquals(notices, []);
});

Deno.test("processes of one run on a machine share that room", async () => {
  using folder = new RunFolder(40, 10);
  const much = 1e9;
  const roomsOf = async (memory: { total: number; available: number }, processes: number) =>
    (await openWith(folder, { memory, ranks: { rank: 0, size: 4, onMachine: processes } })).rooms[0];
  for (
    const memory of [{ total: 20 * TRAIN_BYTES, available: much }, {
      total: much,
      available: 4 * TRAIN_BYTES,
    }]
  ) {
    assertEquals(await roomsOf(memory, 2), TRAIN_BYTES);
    assertEquals(await roomsOf(memory, 3), undefined);
  }
});

Deno.test("of the ranks of a run that begin with one file at once the first writes it, new or of other data", async () => {
  using folder = new RunFolder(4);
  const cache = join(folder.path, "images.cache");
  for (const rows of [4, 6]) {
    using data = new RunFolder(rows);
    const train = join(data.data, "train.tsv");
    const notices: NoticeEvent[] = [];
    const ranks = await Promise.all([3, 2, 0, 1].map((rank) =>
      ImageCaches.open(
        { cache, data: [train], ranks: { rank, size: 4, onMachine: 4 } },
        (notice) => notices.push(notice),
      )
    ));
    const files = ranks.map((caches) => caches.of(train)!.pixels as CacheFileHandle);
    assertEquals(files.map(({ isWriter }) => isWriter), [false, false, true, false]);
    assertEquals(new Set(files.map(({ name }) => name)).size, 1);
    assertEquals(
      ranks[2].description,
      `${cache}, with 0 of ${rows} images; of 4 ranks the first adds its own`,
    );
    const rebuilt = `${cache} had decoded images of other data, or of another version of it: it is made anew`;
    assertEquals(notices, rows === 4 ? [] : [{ type: "note", text: rebuilt }]);
    for (const caches of ranks) caches[Symbol.dispose]();
  }
});

Deno.test("room is made for the rows that are read, which may fit where all do not", async () => {
  using folder = new RunFolder(40, 10);
  const rows = Uint32Array.of(3, 8, 9, 21, 39);
  const memory = { total: TRAIN_BYTES, available: 1e9 }; // a tenth is of four rows
  assertEquals((await openWith(folder, { rows: rows.subarray(0, 4), memory })).rooms, [4 * 3072, undefined]);
  assertMatch(
    (await openWith(folder, { rows, memory })).description,
    /train\.tsv would take 15 kB, and 12 kB may/,
  );
  const both = await openWith(folder, { rows, memory: { total: 1e9, available: 1e9 } });
  assertEquals(both.rooms, [5 * 3072 * 1.25, TEST_BYTES * 1.25]); // rows of the first of the data alone
});

Deno.test("--cache memory keeps as much as half of the free memory takes", async () => {
  using folder = new RunFolder(40, 10);
  const available = TRAIN_BYTES;
  const { rooms, description } = await openWith(folder, {
    cache: "memory",
    memory: { total: available, available },
  });
  assertEquals(rooms, [TRAIN_BYTES / 2, undefined]);
  assertEquals(description, "61 kB of memory for part of train.tsv; no memory is left for test.tsv");
});

Deno.test("nothing is kept where it is of no use", async () => {
  using folder = new RunFolder(40, 10);
  const none = [undefined, undefined];
  assertEquals(await openWith(folder, { cache: "off" }), { description: "off", rooms: none });
  assertEquals(await openWith(folder, { isReadOnce: true }), {
    description: "off: each image is read once",
    rooms: none,
  });
  // A file is of use to the next run.
  const file = join(folder.path, "images.cache");
  const read = await openWith(folder, { cache: file, isReadOnce: true });
  assertEquals(read.rooms, [file, undefined]);
  // A large image counts as broken.
  assertMatch(
    (await openWith(folder, { maxPixels: 32 * 32 - 1 })).description,
    /^off: train\.tsv has nothing to decode/,
  );
  using cifar = new TestFolder();
  const bin = cifar.write("test_batch.bin", new Uint8Array(3073 * 2));
  using caches = await ImageCaches.open({ cache: "auto", data: [bin] });
  assertEquals(caches.description, "off: test_batch.bin has nothing to decode");
});

// In a program of its own: a test's own permissions would be those of the files beside it too.
Deno.test("without the permission to ask for the memory nothing is kept, and nobody is asked", async () => {
  using folder = new TestFolder();
  const path = folder.copy("tsv/train.tsv");
  const program = `
    import { ImageCaches } from ${
    JSON.stringify(new URL("../../actors/image_caches.ts", import.meta.url).href)
  };
    using caches = await ImageCaches.open({ cache: "auto", data: [${JSON.stringify(path)}] });
    console.log(caches.description);`;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-prompt", "--no-check", "--allow-read", "--allow-write", "--allow-env"],
      `data:application/typescript,${encodeURIComponent(program)}`,
    ],
    env: { NO_COLOR: "1" },
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals([code, decode(stderr)], [0, ""]);
  assertMatch(
    decode(stdout),
    /^off: the size of the memory may not be asked for \(--allow-sys=systemMemoryInfo\)/,
  );
});
