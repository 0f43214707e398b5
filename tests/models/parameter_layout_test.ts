import { assertEquals, assertThrows } from "@std/assert";
import { takeRows } from "../../models/parameter_layout.ts";

Deno.test("takeRows() takes rows out of a whole entry, and leaves alone what is these rows already", () => {
  const whole = Float32Array.from({ length: 12 }, (_, i) => i);
  assertEquals(takeRows(whole, 3, undefined), whole);
  assertEquals(takeRows(whole, 3, { first: 1, count: 2 }), whole.slice(3, 9));
  const rows = whole.slice(3, 9);
  assertEquals(takeRows(rows, 3, { first: 1, count: 2 }), rows);
  assertThrows(() => takeRows(rows, 3, { first: 2, count: 1 }), Error, "rows 2 to 3 of 3 values: got 6");
});
