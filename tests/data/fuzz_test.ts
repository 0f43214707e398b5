/** Damaged input of many kinds: what is read is right, what is wrong is refused, nothing hangs or crashes. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { BrokenImageError, decodeImage } from "../../data/decode.ts";
import { LineIndexError } from "../../data/line_index.ts";
import { Random } from "../../data/random.ts";
import { BrokenRowError } from "../../data/dataset.ts";
import { TsvFile } from "../../data/tsv.ts";
import { UserError } from "../../errors.ts";
import { referencePath } from "../reference.ts";
import { TestFolder, touch } from "./folder.ts";

/** Flips, inserts, deletes, repeats or cuts bytes. */
function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  let list = [...bytes];
  for (let n = random.integer(1, 4); n > 0 && list.length > 0; n--) {
    const at = random.integer(0, list.length - 1);
    switch (random.integer(0, 4)) {
      case 0:
        list[at] ^= 1 << random.integer(0, 7);
        break;
      case 1:
        list.splice(at, 0, random.integer(0, 255));
        break;
      case 2:
        list.splice(at, random.integer(1, 40));
        break;
      case 3:
        list.splice(at, 0, ...list.slice(at, at + random.integer(1, 40)));
        break;
      case 4:
        list = list.slice(0, at);
    }
  }
  return Uint8Array.from(list);
}

Deno.test("TsvFile and decodeImage() survive 200 mutated rows", async () => {
  const rows = Deno.readTextFileSync(referencePath("tsv/train.tsv")).trimEnd().split("\n");
  const random = new Random(1, "fuzz rows");
  const encoder = new TextEncoder();
  const lines = Array.from({ length: 200 }, (_, i) => {
    const [key, label, base64] = rows[i % rows.length].split("\t");
    // Half of them are damaged in the row's text, half in the picture's bytes.
    if (i % 2 === 0) return mutate(encoder.encode(rows[i % rows.length]), random);
    return encoder.encode(`${key}\t${label}\t${mutate(Uint8Array.fromBase64(base64), random).toBase64()}`);
  });
  using folder = new TestFolder();
  const content: number[] = [];
  for (const line of lines) content.push(...line, 10);
  using tsv = await TsvFile.open(folder.write("a.tsv", Uint8Array.from(content)));
  assert(tsv.rowCount >= 200);

  const start = performance.now();
  let good = 0, brokenRows = 0, brokenImages = 0;
  for (const row of tsv.readRows(Array.from({ length: tsv.rowCount }, (_, i) => i))) {
    if (row instanceof BrokenRowError) {
      brokenRows++;
      continue;
    }
    try {
      const { width, height, pixels } = await decodeImage(row.image, { maxPixels: 1 << 22 });
      assertEquals(pixels.length, 4 * width * height);
      good++;
    } catch (error) {
      assert(error instanceof BrokenImageError, String(error));
      brokenImages++;
    }
  }
  assertLess(performance.now() - start, 15_000);
  assert(good > 10 && brokenRows > 10 && brokenImages > 10, `${good} ${brokenRows} ${brokenImages}`);
});

Deno.test("TsvFile never gives a wrong row for 200 mutated indexes", async () => {
  const source = referencePath("tsv/train.tsv");
  const index = Deno.readFileSync(referencePath("tsv/train.lineidx"));
  using original = await TsvFile.open(source);
  const known = new Map<string, string>();
  for (let row = 0; row < original.rowCount; row++) {
    const { key, image } = original.readRowSync(row);
    known.set(key, image.toBase64());
  }
  using folder = new TestFolder();
  const path = folder.copy("tsv/train.tsv");
  touch(path, -1000);
  const random = new Random(1, "fuzz indexes");
  const start = performance.now();
  let refused = 0;
  for (let i = 0; i < 200; i++) {
    folder.write("train.lineidx", mutate(index, random));
    try {
      using tsv = await TsvFile.open(path);
      for (let row = 0; row < tsv.rowCount; row++) {
        const { key, image } = tsv.readRowSync(row);
        assertEquals(image.toBase64(), known.get(key));
      }
    } catch (error) {
      assert(error instanceof UserError && !(error instanceof BrokenRowError), String(error));
      assert(error.message.includes("train.lineidx"), error.message);
      if (error instanceof LineIndexError) refused++;
    }
  }
  assertLess(performance.now() - start, 15_000);
  assert(refused > 100, `${refused} refused`);
});
