/** Damaged input of many kinds: what is read is right, what is wrong is refused, nothing hangs or crashes. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { Buffer } from "node:buffer";
import tar from "tar-stream";
import { parseDistillFlags } from "../../cli/flags/distill_flags.ts";
import { parseEmbedFlags } from "../../cli/flags/embed_flags.ts";
import { parseKnnFlags } from "../../cli/flags/knn_flags.ts";
import { parseLinclsFlags } from "../../cli/flags/lincls_flags.ts";
import { openShard } from "../../data/convert/webdataset.ts";
import { BrokenImageError, decodeImage } from "../../data/decode.ts";
import { LineIndexError } from "../../data/line_index.ts";
import { Random } from "../../data/random.ts";
import { BrokenRowError } from "../../data/dataset.ts";
import { TsvFile } from "../../data/tsv.ts";
import { UserError } from "../../errors.ts";
import { studentNames, teacherNames } from "../../models/registry.ts";
import { IS_LONG } from "../long.ts";
import { referencePath } from "../reference.ts";
import { TestFolder, touch } from "./folder.ts";
import { filesOfManyKinds } from "./formats/files.ts";

/** Flips, inserts, deletes, repeats or cuts bytes. */
function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  let list = [...bytes];
  for (let n = random.integer(1, 4); n > 0 && list.length > 0; n--) {
    const at = random.integer(0, list.length - 1);
    switch (random.integer(0, 4)) {
      case 0:
        list[at] ^= 1 << random.integer(0, 7);
        break;
      case 1:
        list.splice(at, 0, random.integer(0, 255));
        break;
      case 2:
        list.splice(at, random.integer(1, 40));
        break;
      case 3:
        list.splice(at, 0, ...list.slice(at, at + random.integer(1, 40)));
        break;
      case 4:
        list = list.slice(0, at);
    }
  }
  return Uint8Array.from(list);
}

/** How many of each kind; with SEED_LONG=1 twenty times as many. */
const COUNT = IS_LONG ? 4000 : 200;

Deno.test(`TsvFile and decodeImage() survive ${COUNT} mutated rows`, async () => {
  const rows = Deno.readTextFileSync(referencePath("tsv/train.tsv")).trimEnd().split("\n");
  const random = new Random(1, "fuzz rows");
  const encoder = new TextEncoder();
  const lines = Array.from({ length: COUNT }, (_, i) => {
    const [key, label, base64] = rows[i % rows.length].split("\t");
    // Half of them are damaged in the row's text, half in the image's bytes.
    if (i % 2 === 0) return mutate(encoder.encode(rows[i % rows.length]), random);
    return encoder.encode(`${key}\t${label}\t${mutate(Uint8Array.fromBase64(base64), random).toBase64()}`);
  });
  using folder = new TestFolder();
  const content: number[] = [];
  for (const line of lines) content.push(...line, 10);
  using tsv = await TsvFile.open(folder.write("a.tsv", Uint8Array.from(content)));
  assert(tsv.rowCount >= COUNT);

  let good = 0, brokenRows = 0, brokenImages = 0;
  for (const row of tsv.readRows(Array.from({ length: tsv.rowCount }, (_, i) => i))) {
    if (row instanceof BrokenRowError) {
      brokenRows++;
      continue;
    }
    try {
      const { width, height, pixels } = await decodeImage(row.image, { maxPixels: 1 << 22 });
      assertEquals(pixels.length, 4 * width * height);
      good++;
    } catch (error) {
      assert(error instanceof BrokenImageError, String(error));
      brokenImages++;
    }
  }
  assert(good > 10 && brokenRows > 10 && brokenImages > 10, `${good} ${brokenRows} ${brokenImages}`);
});

Deno.test(`TsvFile never gives a wrong row for ${COUNT} mutated indexes`, async () => {
  const source = referencePath("tsv/train.tsv");
  const index = Deno.readFileSync(referencePath("tsv/train.lineidx"));
  using original = await TsvFile.open(source);
  const known = new Map<string, string>();
  for (let row = 0; row < original.rowCount; row++) {
    const { key, image } = original.readRowSync(row);
    known.set(key, image.toBase64());
  }
  using folder = new TestFolder();
  const path = folder.copy("tsv/train.tsv");
  touch(path, -1000);
  const random = new Random(1, "fuzz indexes");
  let refused = 0;
  for (let i = 0; i < COUNT; i++) {
    folder.write("train.lineidx", mutate(index, random));
    try {
      using tsv = await TsvFile.open(path);
      for (let row = 0; row < tsv.rowCount; row++) {
        const { key, image } = tsv.readRowSync(row);
        assertEquals(image.toBase64(), known.get(key));
      }
    } catch (error) {
      assert(error instanceof UserError && !(error instanceof BrokenRowError), String(error));
      assert(error.message.includes("train.lineidx"), error.message);
      if (error instanceof LineIndexError) refused++;
    }
  }
  assert(refused > COUNT / 2, `${refused} refused`);
});

Deno.test(`decodeImage() survives ${COUNT} mutated image files of all formats, and takes no more memory for them`, async () => {
  const files: Uint8Array[] = [
    "alpha.png",
    "gamma.png",
    "animated.webp",
    "cmyk_adobe.jpg",
    "exif_rotated.jpg",
    "alpha16.png",
  ]
    .map((name) => Deno.readFileSync(new URL(`./images/${name}`, import.meta.url)));
  const kinds = filesOfManyKinds();
  for (
    const name of [
      "gif transparent",
      "gif interlaced 23",
      "bmp header 12, 8 bits, width 7",
      "bmp 16 bits, 555",
      "bmp run lengths, 8 bits",
      "ppm plain comments",
      "ppm P6, maximum 1000",
      "tiff II palette 4 bits",
      "tiff MM deflate tiles 16 bits",
      "tiff II BigTIFF",
    ]
  ) files.push(kinds[name]);
  const random = new Random(1, "fuzz images");
  const memory: number[] = [];
  for (let i = 0; i < COUNT; i++) {
    const bytes = mutate(files[i % files.length], random);
    // Sizes of four bytes that are large, too.
    if (i % 5 === 0 && bytes.length > 32) {
      new DataView(bytes.buffer).setUint32(random.integer(8, 24), random.integer(0, 2 ** 31));
    }
    try {
      const { width, height, pixels } = await decodeImage(bytes, { maxPixels: 1 << 22 });
      assertEquals(pixels.length, 4 * width * height);
    } catch (error) {
      assert(error instanceof BrokenImageError, String(error));
    }
    if (i === COUNT / 2 || i === COUNT - 1) memory.push(Deno.memoryUsage().rss);
  }
  assertLess(memory[1] - memory[0], 100 * 2 ** 20);
});

Deno.test(`openShard() survives ${COUNT} mutated tar archives`, async () => {
  const image = Deno.readFileSync(new URL("./images/gamma.png", import.meta.url));
  const pack = tar.pack();
  for (const key of ["1", "2", "3"]) {
    pack.entry({ name: `${key}.png` }, Buffer.from(image));
    pack.entry({ name: `${key}.cls` }, key);
  }
  pack.finalize();
  const archive = Uint8Array.from(Buffer.concat((await Array.fromAsync(pack)) as Uint8Array[]));
  using folder = new TestFolder();
  const random = new Random(1, "fuzz shards");
  let rows = 0, refused = 0;
  for (let i = 0; i < COUNT; i++) {
    const header = archive.slice();
    // Half of them in a header, where the sizes are.
    if (i % 2 === 0) {
      const at = random.integer(0, 511);
      header[at] ^= 1 << random.integer(0, 7);
    }
    using source = openShard(folder.write("a.tar", i % 2 === 0 ? header : mutate(archive, random)));
    try {
      for await (const _ of source.rows()) rows++;
    } catch (error) {
      assert(error instanceof UserError, String(error));
      refused++;
    }
  }
  assert(rows > COUNT / 4 && refused > COUNT / 10, `${rows} rows, ${refused} refused`);
});

Deno.test(`every task's flags survive ${5 * COUNT} random command lines`, () => {
  const context = { encoders: studentNames(), teachers: teacherNames(), folder: "/home/me" };
  const parsers = [parseDistillFlags, parseLinclsFlags, parseKnnFlags, parseEmbedFlags];
  const words = [
    ..."--epochs --lr --batch-size --data --no-cos --cos=maybe --schedule --help -b -k 5 -1 1e999 NaN 0x10"
      .split(" "),
    ..."--resume auto --queue=65536 --temp 0 , 1,,2 = -- - --= ---a --student-arch resnet18 résnet --amp=1"
      .split(" "),
    ..."--pretrained /a --output o.npy --arch resnet50 --knn-k 1,2 --save-every 5m --recipe paper-moco-r50"
      .split(" "),
    "",
    " ",
    "\0",
    "a".repeat(10_000),
  ];
  const random = new Random(1, "fuzz flags");
  let taken = 0, refused = 0;
  for (let i = 0; i < 5 * COUNT; i++) {
    const args = Array.from(
      { length: random.integer(0, 6) },
      () => words[random.integer(0, words.length - 1)],
    );
    try {
      parsers[i % parsers.length](args, context);
      taken++;
    } catch (error) {
      assert(error instanceof UserError, `${JSON.stringify(args)}: ${error}`);
      refused++;
    }
  }
  assert(taken > 10 && refused > 10, `${taken} taken, ${refused} refused`);
});
