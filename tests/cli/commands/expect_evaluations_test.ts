import { assertEquals } from "@std/assert";
import { expectEvaluations } from "../../../cli/commands/encoder_training.ts";

const OPTIONS = { knnEvery: 0, insight: false };
/** Three epochs. */
const PLAN = { images: 4000, batchesPerEpoch: 100, firstStep: 0, totalSteps: 300, knn: null };

Deno.test("expectEvaluations() expects none where there are no images to classify and no probe set", () => {
  for (const hasTeacher of [true, false]) {
    const { count, images } = expectEvaluations(OPTIONS, PLAN, false, hasTeacher);
    assertEquals([count, images], [0, 0]);
  }
});

Deno.test("expectEvaluations() expects a probe set alone at the beginning and the end, of 200 images at most", () => {
  const options = { ...OPTIONS, insight: true };
  const expected = (rows: number) => {
    const { count, images } = expectEvaluations(options, { ...PLAN, images: rows }, false, true);
    return [count, images];
  };
  assertEquals(expected(4000), [3, 200]);
  assertEquals(expected(72), [3, 72]);
});

Deno.test("expectEvaluations() expects those that vote, those that are classified and the probe set, as often as they are due", () => {
  const plan = { ...PLAN, knn: { bank: 3000, queries: 1000, heldOut: false } };
  const expected = (changes: Partial<typeof OPTIONS>, isKnown: boolean, hasTeacher: boolean) => {
    const { count, images } = expectEvaluations({ ...OPTIONS, ...changes }, plan, isKnown, hasTeacher);
    return [count, images];
  };
  assertEquals(expected({}, false, true), [3, 4000]);
  assertEquals(expected({ insight: true, knnEvery: 1 }, false, false), [1 + 2 + 1, 4200]);
  assertEquals(expected({ knnEvery: 1 }, true, true), [2 + 1, 4000]);
});
