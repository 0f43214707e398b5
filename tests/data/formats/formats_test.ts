import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { BrokenImageError, decodeImage, type Image } from "../../../data/decode.ts";
import { readImageHeader } from "../../../data/image_header.ts";
import { loadSharp } from "../../../data/sharp.ts";
import { testWithPython } from "../../python.ts";
import { TestFolder } from "../folder.ts";
import { bmp, filesOfManyKinds, gif, join, noise, tiff } from "./files.ts";

const sharp = await loadSharp();

/** [red, green, blue] of every pixel; alpha must be 255. */
function colours({ pixels }: Image): number[][] {
  return Array.from({ length: pixels.length / 4 }, (_, i) => {
    assertEquals(pixels[4 * i + 3], 255);
    return Array.from(pixels.subarray(4 * i, 4 * i + 3));
  });
}

const gray = (value: number) => [value, value, value];
const [BLACK, RED, GREEN, BLUE] = [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]];
const PALETTE = [BLACK, RED, GREEN, BLUE].flat();

/** Width, height and the first bytes of RGB8's SHA-256. */
function digest(width: number, height: number, rgb: Uint8Array): string {
  return `${width} ${height} ${createHash("sha256").update(rgb).digest("hex").slice(0, 16)}`;
}

const toRgb = (image: Image) => Uint8Array.from(colours(image).flat());

/** Kinds that the oldest Pillow of the tests refuses, and newer ones read. */
const NEWER = /BigTIFF$/;

Deno.test("decodeImage() gives Pillow's pixels for GIF, BMP, TIFF and PPM of many kinds, to the last bit", async () => {
  const files = filesOfManyKinds();
  const expected: Record<string, string> = JSON.parse(
    Deno.readTextFileSync(new URL("expected.json", import.meta.url)),
  );
  assertEquals(Object.keys(files), Object.keys(expected));
  for (const [name, bytes] of Object.entries(files)) {
    const image = await decodeImage(bytes);
    assertEquals(digest(image.width, image.height, toRgb(image)), expected[name], name);
    const header = readImageHeader(bytes);
    assertEquals([header?.width, header?.height], [image.width, image.height], name);
  }
});

/** TIFFs as libtiff compresses them. */
async function compressedTiffs(): Promise<Record<string, Uint8Array>> {
  const files: Record<string, Uint8Array> = {};
  for (const channels of [1, 3, 4] as const) {
    const values = Uint8Array.from({ length: 75 * 61 * channels }, (_, i) => i * 7 + (i >> 5) * 3);
    const image = () => {
      const raw = sharp(values, { raw: { width: 75, height: 61, channels } });
      return channels === 1 ? raw.toColourspace("b-w") : raw;
    };
    for (const compression of ["none", "lzw", "deflate", "packbits", "jpeg"] as const) {
      for (const tile of [false, true]) {
        for (const predictor of ["none", "horizontal"] as const) {
          files[`${channels} channels, ${compression}, ${tile ? "tiles" : "strips"}, ${predictor}`] =
            await image()
              .tiff({ compression, tile, tileWidth: 32, tileHeight: 16, predictor, bigtiff: tile })
              .toBuffer();
        }
      }
    }
    if (channels === 1) {
      for (const compression of ["ccittfax4", "none"] as const) {
        files[`1 bit, ${compression}`] = await image().tiff({ compression, bitdepth: 1, predictor: "none" })
          .toBuffer();
      }
    }
  }
  return files;
}

testWithPython(
  "decodeImage() gives the pixels of the Pillow that is here for GIF, BMP, TIFF and PPM",
  { PIL: "python3-pil" },
  async (run) => {
    const files = { ...filesOfManyKinds(), ...await compressedTiffs() };
    using folder = new TestFolder();
    const names = Object.keys(files);
    for (const [i, name] of names.entries()) folder.write(String(i), files[name]);
    const found = await run(
      `
import hashlib, json, sys, warnings
from PIL import Image
warnings.simplefilter("ignore")
found = []
for i in range(int(sys.argv[2])):
    try:
        rgb = Image.open(f"{sys.argv[1]}/{i}").convert("RGB")
        found.append("%d %d %s" % (*rgb.size, hashlib.sha256(rgb.tobytes()).hexdigest()[:16]))
    except Exception as error:
        found.append(repr(error))
print(json.dumps({"found": found}))`,
      folder.path,
      String(names.length),
    ) as { found: string[] };
    for (const [i, name] of names.entries()) {
      if (NEWER.test(name) && /cannot identify/.test(found.found[i])) continue;
      const image = await decodeImage(files[name]);
      assertEquals(digest(image.width, image.height, toRgb(image)), found.found[i], name);
    }
  },
);

Deno.test("decodeImage() gives a GIF's first frame, what is transparent or not covered in the colour of its index", async () => {
  const parts = {
    bits: 2,
    global: PALETTE,
    frame: [1, 0, 2, 1] as [number, number, number, number],
    indices: [2, 3],
  };
  const after = gif({ ...parts, indices: [1, 1] }).subarray(13 + 12);
  const plain = await decodeImage(gif({ ...parts, screen: [4, 1], after }));
  assertEquals(colours(plain), [BLACK, GREEN, BLUE, BLACK]);
  const transparent = await decodeImage(gif({ ...parts, screen: [4, 1], transparent: 3 }));
  assertEquals(colours(transparent), [BLUE, GREEN, BLUE, BLUE]);
  const beyond = await decodeImage(
    gif({ ...parts, screen: [1, 1], local: [GREEN, BLUE, RED, BLACK].flat() }),
  );
  assertEquals([beyond.width, beyond.height, colours(beyond)], [3, 1, [GREEN, RED, BLACK]]);
  const short = await decodeImage(gif({ ...parts, bits: 5, indices: [3, 20], screen: [3, 1] }));
  assertEquals(colours(short), [BLACK, BLUE, gray(20)]);
});

Deno.test("decodeImage() gives a GIF's indices however long the strings are, interlaced or not", async () => {
  const frame: [number, number, number, number] = [0, 0, 40, 300];
  const ramp = Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
  for (const indices of [noise(12000), Array.from({ length: 12000 }, (_, i) => Math.floor(i / 3000))]) {
    for (const isInterlaced of [false, true]) {
      const image = await decodeImage(gif({ bits: 8, frame, indices, isInterlaced, global: ramp }));
      assertEquals(Array.from(image.pixels.filter((_, i) => i % 4 === 0)), indices);
    }
  }
});

Deno.test("decodeImage() gives a BMP's pixels: palettes, masks, rows in both orders, run lengths", async () => {
  const palette = [...BLUE, 0, 1, 2, 3, 0, ...noise(56)];
  const bits4 = await decodeImage(bmp({ bits: 4, width: 3, height: 1, palette, data: [0x01, 0x10, 0, 0] }));
  assertEquals(colours(bits4), [RED, [3, 2, 1], [3, 2, 1]]);
  const rows = { bits: 24, width: 1, height: 2, data: [1, 2, 3, 0, 4, 5, 6, 0] };
  assertEquals(colours(await decodeImage(bmp(rows))), [[6, 5, 4], [3, 2, 1]]);
  assertEquals(colours(await decodeImage(bmp({ ...rows, isTopDown: true }))), [[3, 2, 1], [6, 5, 4]]);
  // 565: 31, 32 and 1 of 31, 63 and 31.
  const bits16 = bmp({
    bits: 16,
    width: 1,
    height: 1,
    masks: [0xf800, 0x7e0, 0x1f],
    data: [0x01, 0xfc, 0, 0],
  });
  assertEquals(colours(await decodeImage(bits16)), [[255, 129, 8]]);
  const runs = bmp({
    bits: 8,
    width: 4,
    height: 2,
    compression: 1,
    palette: [9, 9, 9, 0, ...PALETTE.flatMap((value, i) => i % 3 === 2 ? [value, 0] : [value])],
    entries: 5,
    data: [2, 2, 0, 0, 0, 3, 3, 4, 2, 0, 0, 1],
  });
  await assertRejects(() => decodeImage(runs), BrokenImageError, "its data end after 7 of 8 pixels");
  runs.set([0, 0], runs.length - 2);
  const decoded = colours(await decodeImage(runs));
  assertEquals(decoded, [GREEN, RED, BLUE, gray(9), BLUE, BLUE, gray(9), gray(9)]);
});

Deno.test("decodeImage() gives a PPM's values, of the largest one, half to even", async () => {
  const values = async (...parts: (string | number[])[]) => colours(await decodeImage(join(...parts)));
  assertEquals(await values("P6 2 1 255\n", [1, 2, 3, 4, 5, 6]), [[1, 2, 3], [4, 5, 6]]);
  // 1 / 2 of 255 is 127.5, 3 / 6 as well; 1 / 6 is 42.5.
  assertEquals(await values("P2 # of 6\n3 1 6\n3 1 6\n"), [gray(128), gray(42), gray(255)]);
  assertEquals(await values("P3 1 1 1000\n1000 500 0\n"), [[255, 128, 0]]);
  assertEquals(await values("P5 3 1 65535\n", [0, 7, 0, 255, 1, 0]), [gray(7), gray(255), gray(255)]);
  assertEquals(await values("P1 3 1\n1 01\n"), [gray(0), gray(255), gray(0)]);
  assertEquals(await values("P4 3 1\n", [0b10100000]), [gray(0), gray(255), gray(0)]);
  for (
    const [text, message] of [
      ["P2 1 1 6\n7\n", "expected values up to 6, found 7"],
      ["P2 1 1 65536\n7\n", "expected a maximum value from 1 to 65535, found 65536"],
      ["P1 2 1\n0 2\n", "expected values up to 1, found 2"],
      ["P3 1 1 255\n1 x 3\n", 'expected a digit at byte 13, found "x"'],
      ["P5 12345678901 1 255\n", "expected a number of at most 10 digits"],
      ["P5 0 1 255\n", "it has 0 x 1 pixels"],
    ]
  ) await assertRejects(() => decodeImage(join(text)), BrokenImageError, message);
});

Deno.test("decodeImage() gives a TIFF's pixels, turned as its tag says", async () => {
  const values = [1, 2, 3, 4, 5, 6];
  const turned = await decodeImage(
    tiff({ bits: 8, photometric: 1, width: 3, height: 2, values, orientation: 6 }),
  );
  assertEquals([turned.width, turned.height, colours(turned)], [2, 3, [4, 1, 5, 2, 6, 3].map(gray)]);
  const premultiplied = { bits: 8, samples: 4, photometric: 2, extra: [1], width: 2, height: 1 };
  const divided = await decodeImage(tiff({ ...premultiplied, values: [10, 200, 50, 100, 9, 9, 9, 0] }));
  assertEquals(colours(divided), [[25, 255, 127], BLACK]);
  const big = { bits: 16, photometric: 1, width: 3, height: 1, values: [7, 255, 256], isBig: true };
  for (const isBigEndian of [false, true]) {
    assertEquals(colours(await decodeImage(tiff({ ...big, isBigEndian }))), [7, 255, 255].map(gray));
  }
});

Deno.test("decodeImage() refuses kinds that Pillow refuses or misreads, and names them", async () => {
  const ramp = (entries: number) => Array.from({ length: 4 * entries }, (_, i) => i % 4 === 3 ? 0 : i >> 2);
  const runs = { width: 4, height: 1, palette: noise(64), entries: 16 };
  const rgb = { bits: 8, samples: 3, photometric: 2 };
  const cases: [Uint8Array, string][] = [
    [bmp({ bits: 2 }), "found one of 2 bits"],
    [bmp({ bits: 8, headerSize: 16 }), "found one with a header of 16 bytes"],
    [bmp({ bits: 24, compression: 4 }), "found one of 24 bits with compression 4"],
    [bmp({ bits: 16, masks: [0xf00, 0xf0, 0xf] }), "found one of 16 bits with the masks f00, f0, f"],
    [bmp({ bits: 8, entries: 300, palette: noise(1200) }), "found one with a palette of 300 colours"],
    [
      bmp({ bits: 8, entries: 2, palette: [0, 0, 0, 0, 255, 255, 255, 0] }),
      "found one of 8 bits with a palette of 2 grays only",
    ],
    [bmp({ bits: 4, palette: ramp(16) }), "found one of 4 bits with a palette of 16 grays only"],
    [bmp({ ...runs, bits: 8, compression: 1, data: [0, 2, 1, 0, 3, 1] }), "run-length encoded with gaps"],
    [bmp({ ...runs, bits: 4, compression: 2, data: [0, 3, 1, 2] }), "with an odd number of pixels"],
    [
      gif({ global: noise(24), local: Array.from({ length: 24 }, (_, i) => Math.floor(i / 3)) }),
      "local table is a gray ramp",
    ],
    [tiff({ ...rgb, tags: [[259, 3, [50000]]] }), "found one of 3 samples of 8 bits, RGB, compression 50000"],
    [tiff({ ...rgb, photometric: 8 }), "3 samples of 8 bits, CIELAB, compression none"],
    [tiff({ ...rgb, photometric: 6 }), "3 samples of 8 bits, YCbCr, compression none"],
    [tiff({ bits: 16, photometric: 1, tags: [[339, 3, [3]]] }), "1 floating-point sample of 16 bits, gray"],
    [
      tiff({ ...rgb, bits: 16, isPlanar: true }),
      "3 samples of 16 bits, RGB, compression none, separate planes",
    ],
    [tiff({ bits: 8, photometric: 1, tags: [[266, 3, [2]]] }), "compression none, reversed bit order"],
    [
      tiff({ ...rgb, samples: 5, extra: [0, 0] }),
      "5 samples of 8 bits, RGB, extra samples of kind 0, 0, compression",
    ],
    [tiff({ ...rgb, isPlanar: true, tile: [16, 16] }), "RGB, compression none, separate planes in tiles"],
    [tiff({ bits: 8, photometric: 3, colours: noise(768) }), "values are all below 256"],
    [
      tiff({ bits: 8, photometric: 3, colours: noise(12, 65536) }),
      "expected a palette of 768 values, found 12",
    ],
  ];
  for (const [bytes, message] of cases) {
    await assertRejects(() => decodeImage(bytes), BrokenImageError, message);
  }
});

/** A small file of each way in which pixels are stored, without a byte that is not needed. */
async function smallFiles(): Promise<Record<string, Uint8Array>> {
  const rgb = { bits: 8, samples: 3, photometric: 2 };
  const raw = (channels: 1 | 3) =>
    sharp(Uint8Array.from(noise(320 * channels)), { raw: { width: 20, height: 16, channels } });
  return {
    gif: gif({ transparent: 1, screen: [9, 9], after: new Uint8Array(0) }),
    "gif interlaced": gif({ isInterlaced: true, bits: 5, after: new Uint8Array(0) }),
    "bmp palette": bmp({ bits: 8, palette: noise(40), entries: 10 }),
    "bmp 24 bits": bmp({ bits: 24 }),
    "bmp runs": bmp({
      bits: 8,
      compression: 1,
      width: 3,
      height: 2,
      palette: noise(40),
      entries: 10,
      data: [3, 1, 0, 0, 3, 2],
    }),
    P1: join("P1 5 2\n0101011101"),
    P2: join("P2 2 2 99\n12 13 14 5"),
    P4: join("P4 9 2\n", noise(4)),
    P6: join("P6 2 2 1000\n", noise(24, 4)),
    tiff: tiff(rgb),
    "tiff deflate": tiff({ ...rgb, isDeflated: true, rowsPerStrip: 2 }),
    "tiff tiles": tiff({ ...rgb, tile: [16, 16], width: 20, height: 17 }),
    "tiff big": tiff({ bits: 16, photometric: 1, isBig: true, orientation: 6 }),
    "tiff LZW": await raw(3).tiff({ compression: "lzw" }).toBuffer(),
    "tiff JPEG": await raw(3).tiff({ compression: "jpeg" }).toBuffer(),
  };
}

Deno.test("decodeImage() refuses a truncated GIF, BMP, TIFF or PPM, or gives the pixels of the whole", async () => {
  for (const [name, bytes] of Object.entries(await smallFiles())) {
    const whole = await decodeImage(bytes);
    let refused = 0;
    for (let length = 0; length < bytes.length; length++) {
      try {
        assertEquals(await decodeImage(bytes.subarray(0, length)), whole, `${name} cut to ${length}`);
      } catch (error) {
        assert(error instanceof BrokenImageError, `${name} cut to ${length}: ${error}`);
        refused++;
      }
    }
    assert(refused >= bytes.length - 8, `${name}: ${refused} of ${bytes.length} refused`);
  }
});

Deno.test("decodeImage() refuses a TIFF whose strips or tiles lie beyond its end", async () => {
  const image = { bits: 8, photometric: 1, width: 20, height: 17 };
  const cases: [Uint8Array, string][] = [
    [tiff({ ...image, tags: [[273, 4, [1 << 20]]] }), "before the end of the image"],
    [
      tiff({ ...image, tile: [16, 16], tags: [[325, 4, [256, 256, 256, 1 << 20]]] }),
      "before the end of the image",
    ],
    [tiff({ ...image, tags: [[278, 4, [5]]] }), "expected 4 strips, found 1 offsets and 1 sizes"],
    [
      tiff({ ...image, tile: [16, 16], tags: [[322, 3, [48]]] }),
      "expected 2 tiles, found 4 offsets and 4 sizes",
    ],
  ];
  for (const [bytes, message] of cases) {
    await assertRejects(() => decodeImage(bytes), BrokenImageError, message);
  }
});

/** Files of few bytes that declare so many pixels a side. */
function bombs(side: number): Record<string, Uint8Array> {
  const image = { bits: 8, photometric: 1, width: 4, height: 4 };
  const declared = [[256, 4, [side]], [257, 4, [side]], [278, 4, [side]]] as const;
  const header = bmp({ bits: 24, width: 4, height: 4 });
  new DataView(header.buffer).setUint32(18, side, true);
  new DataView(header.buffer).setUint32(22, side, true);
  const runs = header.slice();
  runs[28] = 8;
  runs[30] = 1;
  const lzw = gif({ bits: 2, global: PALETTE, frame: [0, 0, 2, 1], indices: [1, 2] });
  new DataView(lzw.buffer).setUint16(13 + 12 + 5, side, true);
  new DataView(lzw.buffer).setUint16(13 + 12 + 7, side, true);
  return {
    GIF: lzw,
    BMP: header,
    "BMP of runs": join(runs, noise(1024), [9, 1]),
    P3: join(`P3 ${side} ${side} 255\n1 2 3 4 5`),
    P4: join(`P4 ${side} ${side}\n1234`),
    P6: join(`P6 ${side} ${side} 255\n1234`),
    TIFF: tiff({ ...image, tags: declared }),
    "TIFF, deflate": tiff({ ...image, isDeflated: true, tags: declared }),
  };
}

Deno.test("decodeImage() refuses small files that declare 60,000 x 60,000 pixels by their headers", async () => {
  for (const [name, bytes] of Object.entries(bombs(60_000))) {
    await assertRejects(() => decodeImage(bytes), BrokenImageError, "found 60000 x 60000 = 3600000000", name);
  }
  const tile = tiff({
    bits: 8,
    photometric: 1,
    tile: [16, 16],
    tags: [[322, 4, [65520]], [323, 4, [65520]]],
  });
  await assertRejects(() => decodeImage(tile), BrokenImageError, "it has tiles of 65520 x 65520 pixels");
});

Deno.test("decodeImage() takes no memory to speak of for sizes that are allowed but a lie", async () => {
  for (const [name, bytes] of Object.entries(bombs(10_000))) {
    const before = Deno.memoryUsage();
    await assertRejects(() => decodeImage(bytes), BrokenImageError, "truncated or damaged", name);
    const after = Deno.memoryUsage();
    assertLess(after.rss - before.rss, 150 * 2 ** 20, name);
    assertLess(after.external - before.external, 150 * 2 ** 20, name);
  }
});
