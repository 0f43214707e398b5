import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { ropePeriods, ropeTables } from "../../models/rotary_embedding.ts";
import { referenceJson } from "../reference.ts";

const PIECES = referenceJson("vit/pieces.json");

function assertNear(actual: ArrayLike<number>, expected: readonly number[], tolerance: number): void {
  assertEquals(actual.length, expected.length);
  for (const [i, value] of expected.entries()) assertAlmostEquals(actual[i], value, tolerance, `at ${i}`);
}

for (const width of [32, 64]) {
  Deno.test(`parity: ropePeriods() of a head of ${width} numbers are DINOv3's`, () => {
    assertNear(ropePeriods(width), PIECES[`rope_periods_${width}`], 1e-5);
  });
}

for (const { rows, columns, head_width: width, cos, sin } of PIECES.rope) {
  Deno.test(`parity: ropeTables() of ${rows} x ${columns} patches are DINOv3's, behind tokens that stay`, () => {
    const prefix = 5;
    const tables = ropeTables(width, [rows, columns], prefix);
    const [ones, zeros] = [1, 0].map((value) => new Array(prefix * width).fill(value));
    assertNear(tables.cos, [...ones, ...cos.flat()], 1e-6);
    assertNear(tables.sin, [...zeros, ...sin.flat()], 1e-6);
  });
}

Deno.test("ropeTables() takes a checkpoint's periods, and says how many a head has", () => {
  const { cos } = ropeTables(4, [1, 2], 0, [2]);
  assertNear(cos, [1, 0, 1, 0, 1, 0, 1, 0], 1e-6); // the middle row, and columns a quarter of a turn away
  assertThrows(() => ropeTables(8, [1, 1], 0, [2]), RangeError, "8 numbers needs 2 periods, found 1");
});
