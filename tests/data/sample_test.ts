import { assert, assertEquals } from "@std/assert";
import { decodeImage } from "../../data/decode.ts";
import { readLineIndex, scanLineOffsets } from "../../data/line_index.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../data/sample.ts";
import { BrokenRowError } from "../../data/dataset.ts";
import { resolveDataset } from "../../data/open_dataset.ts";
import { TsvFile } from "../../data/tsv.ts";

for (const [split, each] of [["train", 400], ["test", 100]] as const) {
  Deno.test(`the sample's ${split}.tsv has ${each} images of each of ten classes, 32x32`, async () => {
    const path = await resolveDataset(SAMPLE_DATA, split);
    using tsv = await TsvFile.open(path);
    const counts = new Array(10).fill(0);
    const keys = new Set<string>();
    for (const row of tsv.readRows(Array.from({ length: tsv.rowCount }, (_, i) => i))) {
      assert(!(row instanceof BrokenRowError), String(row));
      counts[row.label]++;
      keys.add(row.key);
      if (row.row % 8 === 0) {
        const { width, height } = await decodeImage(row.image);
        assertEquals([width, height], [32, 32]);
      }
    }
    assertEquals(counts, new Array(10).fill(each));
    assertEquals(keys.size, 10 * each);
    assertEquals(await readLineIndex(`${SAMPLE_DATA}/${split}.lineidx`, path), await scanLineOffsets(path));
  });
}

Deno.test("the sample has its teacher", () => {
  assert(Deno.statSync(SAMPLE_TEACHER).isFile);
});
