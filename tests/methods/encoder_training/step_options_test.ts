import { assertEquals } from "@std/assert";
import { INITIAL_LOSS_SCALE } from "../../../kernels/ops/loss_scale/loss_scale.ts";
import { resumedLossScale } from "../../../methods/encoder_training/step_options.ts";

Deno.test("resumedLossScale() goes on with the scale of a run of the same precision alone", () => {
  const lossScale = { scale: 8, goodSteps: 5, skipped: 3 };
  const resumed = (amp: boolean, onNan: "stop" | "skip", then?: boolean) =>
    resumedLossScale({ amp, onNan }, {
      lossScale,
      ...then !== undefined && { terms: new Map([["amp", then]]) },
    });
  assertEquals(resumed(true, "stop", true), lossScale);
  assertEquals(resumed(false, "skip", false), lossScale);
  assertEquals(resumed(true, "stop"), lossScale); // checkpoints of before
  assertEquals(resumed(true, "skip", false), { ...INITIAL_LOSS_SCALE, skipped: 3 });
  assertEquals(resumed(false, "skip", true), { scale: 1, goodSteps: 0, skipped: 3 });
  assertEquals(resumed(false, "stop", true), undefined);
  assertEquals(resumedLossScale({ amp: true, onNan: "stop" }, {}), INITIAL_LOSS_SCALE);
});
