import { assertEquals } from "@std/assert";
import { rowChunks } from "../../kernels/row_chunks.ts";

Deno.test("rowChunks() takes all rows at once where the device can, and few chunks of nearly one size where not", () => {
  assertEquals(rowChunks(1000, 4, 4000), [{ first: 0, count: 1000 }]);
  assertEquals(rowChunks(1000, 4, 3999), [{ first: 0, count: 512 }, { first: 512, count: 488 }]);
  assertEquals(
    rowChunks(1_048_576, 512, 2 ** 27),
    [0, 1, 2, 3].map((i) => ({ first: 2 ** 18 * i, count: 2 ** 18 })),
  );
  // The least are 64 rows, where the device binds fewer, too: the program that binds them says so.
  assertEquals(rowChunks(130, 512, 1), [0, 1, 2].map((i) => ({ first: 64 * i, count: i < 2 ? 64 : 2 })));
});
