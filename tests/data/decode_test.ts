import { assert, assertEquals, assertInstanceOf, assertLess, assertRejects } from "@std/assert";
import { crc32 } from "node:zlib";
import { loadSharp } from "../../data/sharp.ts";
import { BrokenImageError, decodedSize, decodeImage, type Image } from "../../data/decode.ts";
import { BrokenRowError } from "../../data/dataset.ts";
import { TsvFile } from "../../data/tsv.ts";
import { UserError } from "../../errors.ts";
import { referenceJson, referencePath } from "../reference.ts";

const sharp = await loadSharp();

/** Largest difference of an image from raw RGB8, [height, width, 3]; alpha must be 255. */
function differenceFromRgb({ width, height, pixels }: Image, rgb: Uint8Array): number {
  assertEquals(pixels.length, 4 * width * height);
  assertEquals(rgb.length, 3 * width * height);
  let largest = 0;
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) largest = Math.max(largest, Math.abs(pixels[4 * i + c] - rgb[3 * i + c]));
    assert(pixels[4 * i + 3] === 255);
  }
  return largest;
}

const HERE = new URL("./images/", import.meta.url);

Deno.test("parity: decodeImage() gives the original's pixels for PNG and JPEG, to the last bit", async () => {
  const { files } = referenceJson("preprocess/index.json");
  const decodes = Object.entries<{ w: number; h: number; source: string; op: string }>(files)
    .filter(([, { op }]) => op === "decode");
  assert(decodes.length >= 9);
  for (const [name, { w, h, source }] of decodes) {
    const image = await decodeImage(Deno.readFileSync(referencePath(`preprocess/${source}`)));
    assertEquals([image.width, image.height], [w, h], source);
    assertEquals(
      differenceFromRgb(image, Deno.readFileSync(referencePath(`preprocess/${name}`))),
      0,
      source,
    );
  }
});

Deno.test("parity: every row of the reference train.tsv decodes to its size", async () => {
  using tsv = await TsvFile.open(referencePath("tsv/train.tsv"));
  const sizes: [number, number][] = referenceJson("tsv/expected.json").train.size_wh;
  for (const [row, size] of sizes.entries()) {
    const { width, height, pixels } = await decodeImage((await tsv.readRow(row)).image);
    assertEquals([width, height, pixels.length], [...size, 4 * size[0] * size[1]]);
  }
});

Deno.test("parity: the broken rows of bad_rows.tsv are the ones that are reported", async () => {
  using tsv = await TsvFile.open(referencePath("tsv/bad_rows.tsv"));
  const good: number[] = [];
  for (let row = 0; row < tsv.rowCount; row++) {
    try {
      await decodeImage((await tsv.readRow(row)).image);
      good.push(row);
    } catch (error) {
      assert(error instanceof BrokenRowError || error instanceof BrokenImageError, String(error));
    }
  }
  assertEquals(good, referenceJson("tsv/expected.json").bad_rows.good_row_indexes);
});

Deno.test("decodeImage() converts every kind of image to RGB as Pillow does, to the last bit", async (t) => {
  const { files } = JSON.parse(Deno.readTextFileSync(new URL("expected.json", HERE)));
  for (const [name, { mode, width, height, rgb }] of Object.entries<Record<string, string>>(files)) {
    await t.step(`${name} (${mode})`, async () => {
      const image = await decodeImage(Deno.readFileSync(new URL(name, HERE)));
      assertEquals([image.width, image.height], [width, height] as unknown[]);
      assertEquals(differenceFromRgb(image, Uint8Array.fromBase64(rgb)), 0);
    });
  }
});

Deno.test("decodeImage() refuses truncated images, wherever they are cut", async () => {
  for (const source of ["preprocess/c.jpg", "preprocess/c_444.jpg", "preprocess/c.png"]) {
    const bytes = Deno.readFileSync(referencePath(source));
    // A PNG is whole without its last chunk (12 bytes) and the checksum and the last bytes of the one before.
    const last = bytes.length - (source.endsWith("png") ? 24 : 1);
    for (const length of [4, 30, 200, bytes.length >> 1, last - 40, last]) {
      const error = await assertRejects(
        () => decodeImage(bytes.subarray(0, length)),
        BrokenImageError,
        "truncated or damaged",
        `${source} cut to ${length} of ${bytes.length} bytes`,
      );
      assertInstanceOf(error, UserError);
    }
  }
  const webp = Deno.readFileSync(new URL("lossy.webp", HERE));
  for (const length of [14, 40, webp.length - 20]) {
    await assertRejects(() => decodeImage(webp.subarray(0, length)), BrokenImageError);
  }
});

Deno.test("decodeImage() refuses a PNG with a wrong checksum", async () => {
  const bytes = Deno.readFileSync(referencePath("preprocess/c.png"));
  bytes[bytes.length >> 1] ^= 1;
  await assertRejects(() => decodeImage(bytes), BrokenImageError, "truncated or damaged");
});

Deno.test("decodeImage() says where an image is cut or damaged, the same however many are decoded at once", async () => {
  const jpeg = Deno.readFileSync(referencePath("preprocess/c.jpg"));
  const png = Deno.readFileSync(referencePath("preprocess/c.png"));
  const webp = Deno.readFileSync(new URL("lossy.webp", HERE));
  const wrong = png.slice();
  wrong[wrong.length >> 1] ^= 1;
  const cases: [Uint8Array, string][] = [
    [jpeg.subarray(0, 1000), "it ends after 1000 bytes, before the end of the image"],
    [jpeg.subarray(0, -1), `it ends after ${jpeg.length - 1} bytes, before the end of the image`],
    [png.subarray(0, 300), "it ends after 300 bytes, before the chunk IEND"],
    [wrong, 'the checksum of the chunk "IDAT" at byte 33 is wrong'],
    [webp.subarray(0, 100), `it ends after 100 bytes of ${webp.length}`],
  ];
  // libvips has one buffer of errors for all: with others failing and ending well, its own messages are anybody's.
  const bytes = Array.from({ length: 200 }, (_, i) => i % 6 === 5 ? jpeg : cases[i % 6][0]);
  const found = await Promise.all(
    bytes.map((bytes) => decodeImage(bytes).then(() => "", ({ message }) => message)),
  );
  for (const [i, message] of found.entries()) {
    const expected = i % 6 === 5 ? "" : `the image is truncated or damaged (${cases[i % 6][1]})`;
    assertEquals(message, expected);
  }
});

Deno.test("decodeImage() refuses other formats by their names", async () => {
  const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
  const box = (brand: string) => `\0\0\0\x1cftyp${brand}\0\0\0\0`;
  for (
    const [content, found] of [
      ['<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "an SVG image of 62 bytes"],
      ['<?xml version="1.0"?>\n<svg/>', "an SVG image"],
      ["\n<!DOCTYPE html><title>404</title>", "a web page of 34 bytes"],
      ["P7\nWIDTH 1\n", "a PAM image of 11 bytes, which is not supported; convert it to PNG first"],
      [box("avif"), "an AVIF image of 16 bytes, which is not supported; convert it to PNG first"],
      [box("heic"), "a HEIC image of 16 bytes, which is not supported; convert it to PNG first"],
      [box("mif1"), "a HEIC or AVIF image"],
      [
        "\x89PNG\r\n\x1a\n\0\0\0\x04CgBI\x50\0\x20\x02\0\0\0\0\0\0\0\rIHDR",
        "a PNG image as Xcode makes it for iPhones (CgBI) of 32 bytes, which is not supported; convert it with Xcode's",
      ],
      [box("isom"), "a video"],
      [
        "version https://git-lfs.github.com/spec/v1\noid",
        "a Git LFS pointer of 46 bytes; get the file with `git lfs pull`",
      ],
      ["\x00\x01\x02", "3 bytes that start with 00 01 02"],
      ["", "an empty file"],
    ]
  ) {
    await assertRejects(
      () => decodeImage(bytes(content)),
      BrokenImageError,
      `expected a JPEG, PNG, WebP, GIF, BMP, TIFF or PPM image, found ${found}`,
    );
  }
  // What other programs write.
  const avif = await sharp({ create: { width: 9, height: 9, channels: 3, background: "red" } }).avif()
    .toBuffer();
  await assertRejects(() => decodeImage(avif), BrokenImageError, "found an AVIF image of");
});

Deno.test("decodeImage() refuses other kinds of JPEGs by their names", async () => {
  const bytes = await sharp({ create: { width: 9, height: 9, channels: 3, background: "red" } }).jpeg()
    .toBuffer();
  const frame = bytes.findIndex((byte, at) => byte === 0xff && bytes[at + 1] === 0xc0);
  const other = (marker: number, bits: number) => {
    const changed = new Uint8Array(bytes);
    [changed[frame + 1], changed[frame + 4]] = [marker, bits];
    return changed;
  };
  await decodeImage(other(0xc1, 8)); // extended, which baseline is a part of
  for (
    const [marker, bits, found] of [
      [0xc1, 12, "one of 12 bits"],
      [0xc2, 12, "one of 12 bits"],
      [0xc3, 8, "a lossless one"],
      [0xc3, 16, "a lossless one"],
      [0xcb, 8, "a lossless one"],
      [0xc5, 8, "a hierarchical one"],
      [0xce, 8, "a hierarchical one"],
    ] as const
  ) {
    await assertRejects(
      () => decodeImage(other(marker, bits)),
      BrokenImageError,
      `expected a JPEG image of 8 bits a channel, baseline or progressive, found ${found}; convert it to PNG first`,
    );
  }
});

Deno.test("decodeImage() refuses images above the limit, and tells their size", async () => {
  const bytes = Deno.readFileSync(referencePath("preprocess/c.png"));
  const { width, height } = await decodeImage(bytes);
  await decodeImage(bytes, { maxPixels: width * height });
  await assertRejects(
    () => decodeImage(bytes, { maxPixels: width * height - 1 }),
    BrokenImageError,
    `expected an image of at most ${width * height - 1} pixels, found ${width} x ${height} = ${
      width * height
    }`,
  );
  // A header that promises 40,000 x 40,000 pixels, with its checksum.
  const bomb = bytes.slice();
  const header = new DataView(bomb.buffer);
  header.setUint32(16, 40_000);
  header.setUint32(20, 40_000);
  header.setUint32(29, crc32(bomb.subarray(12, 29)));
  await assertRejects(() => decodeImage(bomb), BrokenImageError, "found 40000 x 40000 = 1600000000");
});

Deno.test("decodeImage() does not touch the bytes it is given, and may be called many times at once", async () => {
  const bytes = Deno.readFileSync(referencePath("preprocess/a.jpg"));
  const copy = bytes.slice();
  const inside = new Uint8Array(bytes.length + 20);
  inside.set(bytes, 10);
  const view = inside.subarray(10, 10 + bytes.length);
  const images = await Promise.all(Array.from({ length: 16 }, (_, i) => decodeImage(i % 2 ? bytes : view)));
  assertEquals(bytes, copy);
  for (const image of images) assertEquals(image, images[0]);
});

Deno.test("decodeImage() gives the same in two Workers at once", async () => {
  const bytes = Deno.readFileSync(referencePath("preprocess/b.jpg"));
  const { pixels } = await decodeImage(bytes);
  const results = await Promise.all([0, 1].map(async () => {
    const worker = new Worker(import.meta.resolve("./decode_worker.ts"), { type: "module" });
    try {
      return await new Promise<Image>((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = reject;
        worker.postMessage(bytes);
      });
    } finally {
      worker.terminate();
    }
  }));
  for (const result of results) assertEquals(result.pixels, pixels);
});

Deno.test("decodeImage() refuses sides that no JPEG could have", async () => {
  const png = await sharp({ create: { width: 2, height: 65536, channels: 3, background: "black" } }).png()
    .toBuffer();
  await assertRejects(
    () => decodeImage(png),
    BrokenImageError,
    "expected an image of at most 65535 pixels a side, found 2 x 65536",
  );
});

/** A photo: smooth, with a pattern as fine as an eighth of its size can still show. */
function photo(width: number, height: number): Uint8Array {
  return Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
    return 128 + 60 * Math.sin(x / 40 + (i % 3)) + 50 * Math.cos(y / 50);
  });
}

/** Means of squares of `factor` x `factor` pixels, [height, width, 3]. */
function reduced(rgb: Uint8Array, width: number, { width: across, height: down }: Image, factor: number) {
  return Uint8Array.from({ length: across * down * 3 }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % across, Math.floor(i / 3 / across)];
    let sum = 0;
    for (let dy = 0; dy < factor; dy++) {
      for (let dx = 0; dx < factor; dx++) {
        sum += rgb[((y * factor + dy) * width + x * factor + dx) * 3 + i % 3];
      }
    }
    return Math.round(sum / factor ** 2);
  });
}

Deno.test("decodeImage() makes a JPEG smaller as far as its shorter side stays long enough, and nothing else", async () => {
  for (const [width, height] of [[320, 256], [323, 257]]) {
    const raw = photo(width, height);
    const of = sharp(raw, { raw: { width, height, channels: 3 } });
    const jpeg = await of.clone().jpeg({ quality: 95 }).toBuffer();
    const whole = await decodeImage(jpeg);
    for (
      const [leastSide, factor] of [[300, 1], [129, 1], [128, 2], [65, 2], [64, 4], [33, 4], [32, 8], [4, 8]]
    ) {
      const image = await decodeImage(jpeg, { leastSide });
      assertEquals([image.width, image.height], [width, height].map((side) => Math.floor(side / factor)));
      if (factor === 1) assertEquals(image.pixels, whole.pixels);
      else assertLess(differenceFromRgb(image, reduced(raw, width, image, factor)), 12);
    }
    const header = { format: "JPEG", width, height } as const;
    assertEquals(decodedSize(header, { leastSide: 64 }), {
      width: Math.floor(width / 4),
      height: Math.floor(height / 4),
    });
    // Other formats keep their size.
    for (const other of [await of.clone().png().toBuffer(), await of.clone().webp().toBuffer()]) {
      const { pixels } = await decodeImage(other, { leastSide: 32 });
      assertEquals(pixels, (await decodeImage(other)).pixels);
    }
    // A cut one is found, and the limit is that of what the file says.
    await assertRejects(
      () => decodeImage(jpeg.subarray(0, jpeg.length / 2), { leastSide: 32 }),
      BrokenImageError,
    );
    const maxPixels = width * height - 1;
    await assertRejects(
      () => decodeImage(jpeg, { leastSide: 32, maxPixels }),
      BrokenImageError,
      "of at most",
    );
  }
});

Deno.test("decodeImage() has the decoder make a JPEG smaller by all but a factor of 2, which is resampled", async () => {
  const numbers = JSON.parse(Deno.readTextFileSync(new URL("draft.json", HERE)));
  const [jpeg, half, quarter] = [numbers.jpeg, numbers.half, numbers.quarter].map((text) =>
    Uint8Array.fromBase64(text)
  );
  const whole = await sharp((await decodeImage(jpeg)).pixels, { raw: { width: 40, height: 24, channels: 4 } })
    .removeAlpha().raw().toBuffer();
  for (const [factor, decoded] of [[2, whole], [4, half], [8, quarter]] as const) {
    const [width, height] = [40, 24].map((side) => side / factor);
    const resampled = await sharp(decoded, { raw: { width: 2 * width, height: 2 * height, channels: 3 } })
      .resize({ width, height, fit: "fill", kernel: "linear" }).raw().toBuffer();
    const image = await decodeImage(jpeg, { leastSide: height });
    assertEquals(differenceFromRgb(image, resampled), 0, `to 1/${factor}`);
  }
});

Deno.test("decodeImage() makes JPEGs of every kind smaller: gray, CMYK, progressive, turned, with a profile", async () => {
  for (const { name } of Deno.readDirSync(HERE)) {
    if (!name.endsWith(".jpg")) continue;
    const bytes = Deno.readFileSync(new URL(name, HERE));
    const whole = await decodeImage(bytes);
    const half = await decodeImage(bytes, { leastSide: Math.floor(Math.min(whole.width, whole.height) / 2) });
    assertEquals(
      [half.width, half.height],
      [whole.width, whole.height].map((side) => Math.floor(side / 2)),
      name,
    );
    // The same picture: its mean colour.
    const mean = ({ pixels }: Image, channel: number) =>
      pixels.reduce((sum, value, i) => i % 4 === channel ? sum + value : sum, 0) / (pixels.length / 4);
    for (const channel of [0, 1, 2]) {
      assertLess(Math.abs(mean(half, channel) - mean(whole, channel)), 3, `${name}, channel ${channel}`);
    }
  }
});
