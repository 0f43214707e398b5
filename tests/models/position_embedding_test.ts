import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  DINO_RESIZING,
  gridOfTable,
  REGISTERS_RESIZING,
  resizePositions,
  sineCosinePositions,
} from "../../models/position_embedding.ts";
import { formulaTensor, referenceJson } from "../reference.ts";

const PIECES = referenceJson("vit/pieces.json");

function assertNear(actual: Float64Array, expected: number[], tolerance: number): void {
  assertEquals(actual.length, expected.length);
  for (const [i, value] of expected.entries()) assertAlmostEquals(actual[i], value, tolerance, `at ${i}`);
}

for (const { name, kind, grid, width, to, antialias, offset, values } of PIECES.pos_embed) {
  const resizing = antialias ? REGISTERS_RESIZING : DINO_RESIZING;
  const way = antialias ? "DINOv2 with registers does" : "DINO and DINOv2 do";
  Deno.test(`parity: resizePositions() resizes a table of ${grid} x ${grid} to ${to.join(" x ")} as ${way}`, () => {
    assertEquals(resizing, { antialias, offset });
    const table = formulaTensor(name, [1, 1 + grid * grid, width], kind);
    assertNear(resizePositions(table, width, to, resizing), values, 1e-8);
  });
}

Deno.test("parity: sineCosinePositions() is MoCo-v3's table", () => {
  const { width, grid, values } = PIECES.mocov3_pos_embed;
  assertNear(sineCosinePositions(width, [grid, grid]), values.flat(), 1e-7);
});

Deno.test("sineCosinePositions() counts rows down and columns across", () => {
  const table = sineCosinePositions(4, [2, 3]);
  const [row, column] = [1, 2];
  const expected = [Math.sin(row), Math.cos(row), Math.sin(column), Math.cos(column)];
  assertNear(table.subarray(4 * (1 + row * 3 + column)), expected, 1e-15);
});

Deno.test("resizePositions() leaves a table for its own grid as it is, and the class token's position always", () => {
  const table = formulaTensor("positions", [17, 3], "small");
  for (const resizing of [DINO_RESIZING, REGISTERS_RESIZING]) {
    assertEquals(resizePositions(table, 3, [4, 4], resizing), Float64Array.from(table));
    // As many patches in another shape are another grid.
    const wide = resizePositions(table, 3, [2, 8], resizing);
    assertEquals(wide.slice(0, 3), Float64Array.from(table.subarray(0, 3)));
    assertEquals(wide.every((value, i) => value === table[i]), false);
  }
});

Deno.test("resizePositions() keeps a constant table constant, up and down", () => {
  const table = new Float64Array(26).fill(0.7);
  for (const resizing of [DINO_RESIZING, REGISTERS_RESIZING]) {
    for (const grid of [[1, 1], [2, 9], [40, 3]] as const) {
      for (const value of resizePositions(table, 1, grid, resizing)) assertAlmostEquals(value, 0.7, 1e-14);
    }
  }
});

Deno.test("tables that are no square, and widths that are no four quarters, are refused", () => {
  assertEquals([2, 10, 1370, 1, 9, 0].map(gridOfTable), [1, 3, 37, undefined, undefined, undefined]);
  assertThrows(() => resizePositions(new Float64Array(18), 2, [2, 2], DINO_RESIZING), Error, "no table");
  assertThrows(() => sineCosinePositions(6, [2, 2]), Error, "a width of 6");
});
