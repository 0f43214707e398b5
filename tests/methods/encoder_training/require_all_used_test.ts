import { assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../../errors.ts";
import { MocoStep } from "../../../methods/moco/step.ts";
import { StudentStep } from "../../../methods/seed/step.ts";
import type { Encoder } from "../../../models/encoder.ts";
import { findEncoder } from "../../../models/registry.ts";
import { withGpu } from "../../kernels/check_op.ts";

Deno.test("no method trains an encoder that declares layers and does not use them", () =>
  withGpu(async (gpu) => {
    const resnet = findEncoder("resnet18");
    const encoder: Encoder = {
      ...resnet,
      name: "mine",
      trace(builder, images, head) {
        builder.convolution("unused", { inputs: 3, outputs: 8, kernel: 3 });
        builder.batchNorm("norm", 8);
        return resnet.trace(builder, images, head);
      },
    };
    const options = {
      encoder,
      head: { kind: "linear", dimension: 8 } as const,
      ...{ batch: 2, imageSize: 32, queueSize: 8 },
      ...{ temperature: 0.2, teacherTemperature: 0.01, momentum: 0.9, weightDecay: 0 },
    };
    const steps = [
      () => StudentStep.create(gpu, options),
      () => MocoStep.create(gpu, { ...options, keyMomentum: 0.99 }),
    ];
    for (const create of steps) {
      const { message } = await assertRejects(create, UserError);
      assertEquals(
        message,
        'the outputs of the encoder "mine" do not depend on unused.weight, norm.weight, norm.bias and 2 more: apply these ' +
          "layers, or do not declare them",
      );
    }
  }));
