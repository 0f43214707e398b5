import { assertEquals } from "@std/assert";
import { withDecoding } from "../../actors/data_facts.ts";
import { DEFAULT_MAX_PIXELS } from "../../data/decode.ts";

Deno.test("withDecoding() keeps a side of twice the largest view, where images are to be made smaller", async () => {
  const sideOf = async (options: { fastDecode?: boolean; imageSize: number; teacherSize?: number }) =>
    (await withDecoding(options)).leastSide;
  assertEquals(await sideOf({ imageSize: 224 }), undefined);
  assertEquals(await sideOf({ imageSize: 224, fastDecode: false }), undefined);
  assertEquals(await sideOf({ imageSize: 224, fastDecode: true }), 448);
  assertEquals(await sideOf({ imageSize: 128, teacherSize: 224, fastDecode: true }), 448);
  assertEquals(await sideOf({ imageSize: 224, teacherSize: 128, fastDecode: true }), 448);
  assertEquals((await withDecoding({ imageSize: 8, maxPixels: 100 })).maxPixels, 100);
  const { maxPixels } = await withDecoding({ imageSize: 8 });
  assertEquals(maxPixels <= DEFAULT_MAX_PIXELS && maxPixels > 0, true);
});
