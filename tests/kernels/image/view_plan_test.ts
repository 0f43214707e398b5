import { assert, assertEquals } from "@std/assert";
import { evaluationView } from "../../../kernels/image/view_parameters.ts";
import { sourceWordsOf, usedSourceWords, ViewPlanner } from "../../../kernels/image/view_plan.ts";

Deno.test("images that a buffer above 4 GiB could hold are divided so that 32-bit offsets reach all", () => {
  const sourceWords = sourceWordsOf(16 * 2 ** 30);
  const [width, height] = [4032, 3024];
  const count = Math.floor(sourceWords / (width * height));
  const table = Uint32Array.from(
    { length: 3 * count },
    (_, i) => [Math.floor(i / 3) * width * height, width, height][i % 3],
  );
  const images = { count, table, pixels: { byteLength: 4 * width * height * count } };
  const views = Array.from({ length: count }, (_, i) => evaluationView(width, height, 256, 224, i));
  assert(usedSourceWords(images, views) <= sourceWords);
  const bindingWords = Math.floor((2 ** 31 - 1) / 256) * 64;
  const { resize } = new ViewPlanner().plan(images, views, {
    width: 224,
    height: 224,
    sourceWords,
    bindingWords,
  });
  assert(resize.length > 1);
  for (const { source } of resize) assert(source < 2 ** 32, `a dynamic offset of ${source}`);
  assertEquals(sourceWordsOf(1000), 192); // a whole number of alignments
});
