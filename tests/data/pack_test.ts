import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import type { Picture } from "../../data/decode.ts";
import { UserError } from "../../errors.ts";
import { type PackedPictures, packPictures, TABLE_STRIDE } from "../../data/pack.ts";

type WrittenPicture = Picture & { row: number; label: number };

function picture(width: number, height: number, row: number, label: number): WrittenPicture {
  const pixels = new Uint8Array(4 * width * height).map((_, i) => i * 7 + row);
  return { width, height, row, label, pixels };
}

const PICTURES = [picture(3, 5, 40, 1), picture(1, 1, 2 ** 31, -7), picture(64, 20, 7, 999)];

function check({ count, table, pixels }: PackedPictures, pictures: WrittenPicture[]): void {
  assertEquals(count, pictures.length);
  for (const [i, expected] of pictures.entries()) {
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

Deno.test("packPictures() puts pictures one after the other, with a table", () => {
  const packed = packPictures(PICTURES);
  check(packed, PICTURES);
  assertEquals(packed.table.length, 15);
  assertEquals(packed.pixels.length, 4 * (15 + 1 + 1280));
  assertStrictEquals(packed.table.buffer, packed.pixels.buffer);
  assertEquals([packed.table.byteOffset, packed.pixels.byteOffset], [0, 256]);
  assertEquals(packed.table.buffer.byteLength, 8192);
});

Deno.test("packPictures() lets pictures write themselves where they belong", () => {
  const packed = packPictures(PICTURES.map(({ pixels, ...rest }, i) => {
    if (i === 0) return { ...rest, pixels };
    return { ...rest, writeTo: (words: Uint32Array) => words.set(new Uint32Array(pixels.buffer)) };
  }));
  check(packed, PICTURES);
});

Deno.test("packPictures() uses a buffer again when it is large enough", () => {
  const buffer = new ArrayBuffer(10_000);
  new Uint8Array(buffer).fill(0xaa);
  const packed = packPictures(PICTURES, buffer);
  assertStrictEquals(packed.table.buffer, buffer);
  check(packed, PICTURES);
  const exact = new ArrayBuffer(256 + 4 * 1296);
  assertStrictEquals(packPictures(PICTURES, exact).table.buffer, exact);
  const small = new ArrayBuffer(exact.byteLength - 4);
  const other = packPictures(PICTURES, small);
  assert(other.table.buffer !== small);
  check(other, PICTURES);
});

Deno.test("packPictures() makes a new buffer where the old one was transferred away", () => {
  const packed = packPictures(PICTURES);
  const sent = structuredClone(packed, { transfer: [packed.table.buffer] });
  assertEquals(packed.table.buffer.byteLength, 0);
  check(sent, PICTURES);
  assertStrictEquals(sent.table.buffer, sent.pixels.buffer);
  check(packPictures(PICTURES, packed.table.buffer), PICTURES);
});

Deno.test("packPictures() packs none, and many", () => {
  const none = packPictures([]);
  assertEquals([none.count, none.table.length, none.pixels.length], [0, 0, 0]);
  const many = Array.from({ length: 300 }, (_, i) => picture(1 + i % 7, 1 + i % 5, i, i));
  check(packPictures(many), many);
});

Deno.test("packPictures() refuses pixels that do not match the size", () => {
  assertThrows(
    () => packPictures([{ ...PICTURES[0], width: 4 }]),
    Error,
    "4 x 5 RGBA8 needs 80 bytes, has 60",
  );
});

Deno.test("packPictures() refuses what no buffer holds, with a sentence", () => {
  const huge = { width: 65535, height: 65535, row: 0, label: 0, writeTo() {} };
  assertThrows(
    () => packPictures([huge, huge]),
    UserError,
    "a batch of 2 pictures takes at least 32.0 GiB, more than there is room for",
  );
});
