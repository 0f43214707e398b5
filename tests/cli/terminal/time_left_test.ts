import { assertAlmostEquals, assertEquals } from "@std/assert";
import { TimeLeft } from "../../../cli/terminal/time_left.ts";

/** Steps of 10 images, one a second, from `first` to `last`. */
function train(left: TimeLeft, first: number, last: number): void {
  for (let step = first; step <= last; step++) left.step(step, step);
}

Deno.test("TimeLeft knows nothing before there is a rate, and then how long the steps take", () => {
  const none = { count: 0, images: 0, besideTraining: false };
  const left = new TimeLeft({ totalSteps: 100, batchSize: 10, evaluations: none }, 0);
  train(left, 1, 2);
  assertEquals([left.seconds(), left.imagesPerSecond], [undefined, undefined]);
  train(left, 3, 20);
  assertEquals([left.seconds(), left.imagesPerSecond], [80, 10]);
});

Deno.test("TimeLeft adds the evaluations that come in turn with training, as long as one was measured to take", () => {
  const evaluations = { count: 4, images: 100, besideTraining: false };
  const left = new TimeLeft({ totalSteps: 100, batchSize: 10, evaluations }, 0);
  train(left, 1, 25);
  assertEquals(left.seconds(), 75 + 4 * 10, "at first by the rate of training");
  left.evaluate(20, 100, 30);
  left.evaluate(60, 100, 32); // 20 images a second
  assertAlmostEquals(left.seconds()!, 75 + 2 + 3 * 5);
  left.evaluate(100, 100, 34);
  assertAlmostEquals(left.seconds()!, 75 + 3 * 5);
  // The time that it took is none of training's.
  for (let step = 26; step <= 30; step++) left.step(step, step + 9);
  assertAlmostEquals(left.imagesPerSecond!, 10);
  assertAlmostEquals(left.seconds()!, 70 + 3 * 5);
});

Deno.test("TimeLeft takes evaluations next to training for nothing while training takes longer, but the last", () => {
  const evaluations = { count: 3, images: 100, besideTraining: true };
  const left = new TimeLeft({ totalSteps: 100, batchSize: 10, evaluations }, 0);
  train(left, 1, 50);
  left.evaluate(50, 100, 50);
  left.evaluate(75, 100, 55); // 5 images a second
  assertAlmostEquals(
    left.seconds()!,
    50 + 20,
    1e-9,
    "the rest of this one and one more take 25 s, training 50",
  );
  train(left, 51, 100);
  // A few images are broken: the next one's count begins anew.
  left.evaluate(10, 100, 100);
  assertAlmostEquals(left.seconds()!, 18 + 20);
  left.evaluate(100, 100, 109);
  left.evaluate(100, 100, 119);
  assertEquals(left.seconds(), 0);
});
