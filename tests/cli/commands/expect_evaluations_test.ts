import { assertAlmostEquals, assertEquals } from "@std/assert";
import { expectEvaluations } from "../../../cli/commands/encoder_training.ts";
import { TimeLeft } from "../../../cli/terminal/time_left.ts";

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

/**
 * Seconds that `TimeLeft` leaves for the last evaluation after the last epoch but one, of a run whose epochs without kNN are
 * evaluated by the probe set. A step of 40 images takes a second, and so do 100 images of an evaluation.
 */
function secondsForTheLast(
  knn: { bank: number; queries: number; heldOut: boolean } | null,
  isKnown: boolean,
) {
  const [epochs, batches, batchSize, firstEpoch] = [200, 100, 40, isKnown ? 150 : 0];
  const plan = {
    images: batches * batchSize,
    batchesPerEpoch: batches,
    firstStep: firstEpoch * batches,
    totalSteps: epochs * batches,
    knn,
  };
  const options = { knnEvery: 10, insight: true };
  const evaluations = expectEvaluations(options, plan, isKnown, true);
  const left = new TimeLeft({ totalSteps: plan.totalSteps, batchSize, evaluations }, plan.firstStep);
  let now = 0;
  const evaluate = (isByKnn: boolean) => {
    const total = isByKnn && knn !== null ? knn.bank + knn.queries + 200 : 200;
    for (let part = 1; part <= 10; part++) left.evaluate(part * total / 10, total, now += total / 1000);
  };
  for (let encoder = 0; encoder < 2; encoder++) evaluate(!isKnown);
  for (let epoch = firstEpoch; epoch < epochs - 1; epoch++) {
    for (let batch = 1; batch <= batches; batch++) left.step(epoch * batches + batch, now += 1);
    evaluate((epoch + 1) % options.knnEvery === 0);
  }
  return left.seconds()! - batches * batchSize / left.imagesPerSecond!;
}

Deno.test("the last evaluation is in the time left, however many were made by the probe set alone before it", () => {
  const knn = { bank: 4000, queries: 1000, heldOut: false };
  assertAlmostEquals(secondsForTheLast(knn, false), 52, 0.1);
  assertAlmostEquals(secondsForTheLast(knn, true), 52, 0.1, "of a run that is resumed");
  assertAlmostEquals(secondsForTheLast(null, false), 2, 0.1, "of a run without kNN");
});
