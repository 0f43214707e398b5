import { assertAlmostEquals, assertEquals } from "@std/assert";
import { Random } from "../../../data/random.ts";
import { LossEnds } from "../../../methods/encoder_training/loss_ends.ts";

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

Deno.test("LossEnds has the means of the first and the last losses, as many as an epoch has", () => {
  const random = new Random(1, "losses");
  const losses = Array.from({ length: 100 }, (_, i) => ({ step: i + 1, loss: random.uniform(0, 9) }));
  for (const epoch of [1, 7, 100, 300]) {
    for (const [known, steps] of [[0, 1], [0, epoch], [3, 2 * epoch], [epoch, 3 * epoch], [0, 100]]) {
      const all = losses.slice(0, known + steps);
      const ends = new LossEnds(epoch, all.slice(0, known));
      for (const loss of all.slice(known)) ends.add(loss);
      const [first, last] = [all.slice(0, epoch), all.slice(-epoch)];
      const { firstLoss, firstLossSteps, lastLoss, lastLossSteps } = ends.means;
      assertAlmostEquals(firstLoss, mean(first.map(({ loss }) => loss)), 1e-12);
      assertAlmostEquals(lastLoss, mean(last.map(({ loss }) => loss)), 1e-12);
      assertEquals(firstLossSteps, [1, first.length]);
      assertEquals(lastLossSteps, [last[0].step, all.length]);
    }
  }
});

Deno.test("LossEnds counts no step that was skipped, and knows that there was none", () => {
  assertEquals(new LossEnds(4).means, {
    firstLoss: NaN,
    firstLossSteps: [0, 0],
    lastLoss: NaN,
    lastLossSteps: [0, 0],
  });
  const ends = new LossEnds(2, [{ step: 4, loss: 3 }, { step: 5, loss: null }, { step: 6, loss: NaN }]);
  ends.add({ step: 7, loss: 5 });
  assertEquals(ends.means, { firstLoss: 3, firstLossSteps: [4, 5], lastLoss: 5, lastLossSteps: [6, 7] });
});
