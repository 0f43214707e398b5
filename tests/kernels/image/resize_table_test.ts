import { assertAlmostEquals, assertEquals } from "@std/assert";
import {
  type ResizeAxis,
  resizeTableLength,
  WEIGHT_BITS,
  writeResizeTable,
} from "../../../kernels/image/resize_table.ts";

const ONE = 1 << WEIGHT_BITS;

function makeTable(axis: Partial<ResizeAxis> & { source: number; resized: number }) {
  const full: ResizeAxis = { window: 0, size: axis.resized, filter: "bilinear", mirrored: false, ...axis };
  const table = new Int32Array(resizeTableLength(full) + 3).fill(-7);
  const extent = writeResizeTable(table, 3, full);
  assertEquals([...table.subarray(0, 3)], [-7, -7, -7]);
  const entries = Array.from({ length: full.size }, (_, i) => {
    const [start, count] = table.subarray(3 + 2 * i);
    const row = 3 + 2 * full.size + i * extent.taps;
    return { start, weights: [...table.subarray(row, row + count)] };
  });
  return { extent, entries };
}

Deno.test("writeResizeTable() copies at the same size", () => {
  for (const filter of ["bilinear", "bicubic"] as const) {
    for (const [i, { start, weights }] of makeTable({ source: 6, resized: 6, filter }).entries.entries()) {
      weights.forEach((weight, k) => assertEquals(weight, start + k === i ? ONE : 0));
    }
  }
});

Deno.test("writeResizeTable() weighs two neighbours when doubling", () => {
  const { entries } = makeTable({ source: 2, resized: 4 });
  assertEquals(entries, [
    { start: 0, weights: [ONE] },
    { start: 0, weights: [0.75 * ONE, 0.25 * ONE] },
    { start: 0, weights: [0.25 * ONE, 0.75 * ONE] },
    { start: 1, weights: [ONE] },
  ]);
});

Deno.test("writeResizeTable() widens the filter when halving", () => {
  const { entries } = makeTable({ source: 8, resized: 4 });
  assertEquals(entries[1], { start: 1, weights: [0.125, 0.375, 0.375, 0.125].map((w) => w * ONE) });
});

Deno.test("writeResizeTable() gives weights that add up to one", () => {
  for (const filter of ["bilinear", "bicubic"] as const) {
    for (const [source, resized] of [[1, 1], [1, 9], [9, 1], [500, 224], [31, 37], [1000, 7]]) {
      for (const { weights } of makeTable({ source, resized, filter }).entries) {
        assertAlmostEquals(weights.reduce((a, b) => a + b) / ONE, 1, weights.length / ONE);
      }
    }
  }
});

Deno.test("writeResizeTable() mirrors and cuts a window out", () => {
  const plain = makeTable({ source: 50, resized: 20 });
  const mirrored = makeTable({ source: 50, resized: 20, mirrored: true });
  assertEquals(mirrored.entries, plain.entries.toReversed());
  const window = makeTable({ source: 50, resized: 20, window: 5, size: 4 });
  assertEquals(window.extent.first, plain.entries[5].start);
  assertEquals(window.extent.end, plain.entries[8].start + plain.entries[8].weights.length);
  window.entries.forEach(({ start, weights }, i) =>
    assertEquals({ start: start + window.extent.first, weights }, plain.entries[5 + i])
  );
});

Deno.test("writeResizeTable() has no weights outside the image", () => {
  const { entries, extent } = makeTable({ source: 3, resized: 3, window: -2, size: 7 });
  assertEquals(entries.map(({ weights }) => weights.length > 0), [
    false,
    false,
    true,
    true,
    true,
    false,
    false,
  ]);
  assertEquals([extent.first, extent.end], [0, 3]);
  const outside = makeTable({ source: 3, resized: 3, window: 9, size: 2 });
  assertEquals([outside.extent.first, outside.extent.end], [0, 0]);
});

Deno.test("writeResizeTable() rounds each weight to the nearest integer, also those below zero", () => {
  // Pillow's bicubic filter, a = -0.5, where an image becomes larger.
  const filter = (x: number) => {
    const d = Math.abs(x);
    if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
    return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
  };
  const { entries } = makeTable({ source: 5, resized: 13, filter: "bicubic" });
  let negative = 0;
  for (const [i, { start, weights }] of entries.entries()) {
    const center = (i + 0.5) * 5 / 13;
    const exact = weights.map((_, k) => filter(start + k + 0.5 - center));
    const sum = exact.reduce((a, b) => a + b, 0);
    for (const [k, weight] of weights.entries()) {
      assertAlmostEquals(weight, exact[k] / sum * ONE, 0.5001);
      if (weight < 0) negative++;
    }
  }
  assertEquals(negative > 5, true);
});
