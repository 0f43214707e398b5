import { assert, assertEquals } from "@std/assert";
import { findDamage, readImageHeader } from "../../data/image_header.ts";

const IMAGES = new URL("./images/", import.meta.url);

Deno.test("readImageHeader() finds the size of every kind of file, and findDamage() none in them", () => {
  const { files } = JSON.parse(Deno.readTextFileSync(new URL("expected.json", IMAGES)));
  for (const [name, { width, height }] of Object.entries<{ width: number; height: number }>(files)) {
    const bytes = Deno.readFileSync(new URL(name, IMAGES));
    const header = readImageHeader(bytes);
    assertEquals([header?.width, header?.height], [width, height], name);
    assertEquals(findDamage(bytes, header!.format), undefined, name);
    // However it is cut, it does not throw.
    for (let length = 0; length < Math.min(bytes.length, 200); length++) {
      const cut = bytes.subarray(0, length);
      const found = readImageHeader(cut);
      if (found !== undefined) {
        assert(findDamage(cut, found.format) !== undefined, `${name} cut to ${length}`);
      }
    }
  }
});
