import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { sampleRows } from "../../data/sample_rows.ts";

Deno.test("sampleRows() chooses one row of each part, the same for a seed", () => {
  for (const [rowCount, count] of [[10, 1], [10, 9], [1000, 250], [10_000_000, 1000]]) {
    const rows = sampleRows(rowCount, count, 3);
    assertEquals(rows.length, count);
    for (const [part, row] of rows.entries()) {
      assert(row >= Math.floor(part * rowCount / count) && row < Math.floor((part + 1) * rowCount / count));
    }
    assertEquals(new Set(rows).size, count);
    assertEquals(sampleRows(rowCount, count, 3), rows);
  }
  assertNotEquals(sampleRows(1000, 10, 3), sampleRows(1000, 10, 4));
  // Rows that repeat with the parts' length are not all of one kind.
  assert(new Set(sampleRows(100_000, 1000, 3).map((row) => row % 100)).size > 50);
});
