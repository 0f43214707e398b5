import { assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../../errors.ts";
import { MocoStep, type MocoStepOptions } from "../../../methods/moco/step.ts";
import { StudentStep, type StudentStepOptions } from "../../../methods/seed/step.ts";
import { withGpu, withLimits } from "../../kernels/check_op.ts";
import { TINY_ENCODER } from "../../models/tiny_encoder.ts";

const OPTIONS: StudentStepOptions & MocoStepOptions = {
  encoder: TINY_ENCODER,
  head: { kind: "mlp", dimension: 10 },
  ...{ batch: 3, imageSize: 8, queueSize: 24, temperature: 0.2, teacherTemperature: 0.05 },
  ...{ momentum: 0.9, weightDecay: 0, keyMomentum: 0.99 },
};

for (const Step of [StudentStep, MocoStep]) {
  Deno.test(`${Step.name}.create() refuses a queue that no buffer can hold, and says which can`, () =>
    withGpu(async (gpu) => {
      // A key takes 12 numbers. 17 would fit, but rows are a multiple of four; and a batch has three.
      const small = withLimits(gpu, { maxBufferSize: 17 * 48 });
      const create = async (changes = {}) => {
        using _ = await Step.create(small, { ...OPTIONS, ...changes });
      };
      const { message } = await assertRejects(() => create(), UserError);
      assertEquals(
        message,
        "a queue of 24 keys of 10 numbers takes 1152 bytes, but a buffer of this adapter has at most 816; " +
          "the longest queue that fits has 15 keys",
      );
      await assertRejects(() => create({ accumulate: 2 }), UserError, "fits has 12 keys");
      await create({ queueSize: 15 });
    }));
}
