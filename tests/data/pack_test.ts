import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import type { Image } from "../../data/decode.ts";
import { UserError } from "../../errors.ts";
import { type PackedImages, packImages, TABLE_STRIDE } from "../../data/pack.ts";

type WrittenImage = Image & { row: number; label: number };

function image(width: number, height: number, row: number, label: number): WrittenImage {
  const pixels = new Uint8Array(4 * width * height).map((_, i) => i * 7 + row);
  return { width, height, row, label, pixels };
}

const IMAGES = [image(3, 5, 40, 1), image(1, 1, 2 ** 31, -7), image(64, 20, 7, 999)];

function check({ count, table, pixels }: PackedImages, images: WrittenImage[]): void {
  assertEquals(count, images.length);
  for (const [i, expected] of images.entries()) {
    const [offset, width, height, row, label] = table.subarray(TABLE_STRIDE * i, TABLE_STRIDE * (i + 1));
    assertEquals([width, height, row, label | 0], [
      expected.width,
      expected.height,
      expected.row,
      expected.label,
    ]);
    assertEquals(pixels.slice(4 * offset, 4 * (offset + width * height)), expected.pixels);
  }
}

Deno.test("packImages() puts images one after the other, with a table", () => {
  const packed = packImages(IMAGES);
  check(packed, IMAGES);
  assertEquals(packed.table.length, 15);
  assertEquals(packed.pixels.length, 4 * (15 + 1 + 1280));
  assertStrictEquals(packed.table.buffer, packed.pixels.buffer);
  assertEquals([packed.table.byteOffset, packed.pixels.byteOffset], [0, 256]);
  assertEquals(packed.table.buffer.byteLength, 8192);
});

Deno.test("packImages() lets images write themselves where they belong", () => {
  const packed = packImages(IMAGES.map(({ pixels, ...rest }, i) => {
    if (i === 0) return { ...rest, pixels };
    return { ...rest, writeTo: (words: Uint32Array) => words.set(new Uint32Array(pixels.buffer)) };
  }));
  check(packed, IMAGES);
});

Deno.test("packImages() uses a buffer again when it is large enough", () => {
  const buffer = new ArrayBuffer(10_000);
  new Uint8Array(buffer).fill(0xaa);
  const packed = packImages(IMAGES, buffer);
  assertStrictEquals(packed.table.buffer, buffer);
  check(packed, IMAGES);
  const exact = new ArrayBuffer(256 + 4 * 1296);
  assertStrictEquals(packImages(IMAGES, exact).table.buffer, exact);
  const small = new ArrayBuffer(exact.byteLength - 4);
  const other = packImages(IMAGES, small);
  assert(other.table.buffer !== small);
  check(other, IMAGES);
});

Deno.test("packImages() makes a new buffer where the old one was transferred away", () => {
  const packed = packImages(IMAGES);
  const sent = structuredClone(packed, { transfer: [packed.table.buffer] });
  assertEquals(packed.table.buffer.byteLength, 0);
  check(sent, IMAGES);
  assertStrictEquals(sent.table.buffer, sent.pixels.buffer);
  check(packImages(IMAGES, packed.table.buffer), IMAGES);
});

Deno.test("packImages() packs none, and many", () => {
  const none = packImages([]);
  assertEquals([none.count, none.table.length, none.pixels.length], [0, 0, 0]);
  const many = Array.from({ length: 300 }, (_, i) => image(1 + i % 7, 1 + i % 5, i, i));
  check(packImages(many), many);
});

Deno.test("packImages() refuses pixels that do not match the size", () => {
  assertThrows(
    () => packImages([{ ...IMAGES[0], width: 4 }]),
    Error,
    "4 x 5 RGBA8 needs 80 bytes, has 60",
  );
});

Deno.test("packImages() refuses what no buffer holds, with a sentence", () => {
  const huge = { width: 65535, height: 65535, row: 0, label: 0, writeTo() {} };
  assertThrows(
    () => packImages([huge, huge]),
    UserError,
    "a batch of 2 images takes at least 32.0 GiB, which does not fit",
  );
});
