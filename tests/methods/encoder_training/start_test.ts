import { assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../../errors.ts";
import { requireKnownHead } from "../../../methods/encoder_training/start.ts";
import { runDistillation } from "../../../methods/seed/run.ts";
import { registerEncoder, studentNames } from "../../../models/registry.ts";
import { projectionHead } from "../../../parts.ts";
import { RunFolder } from "../../actors/small_run.ts";
import { TINY_ENCODER } from "../../models/tiny_encoder.ts";

Deno.test("requireKnownHead() takes every student, and refuses one whose head no checkpoint tells", async () => {
  const linear = { kind: "linear", dimension: 16 } as const;
  const mlp = { kind: "mlp", dimension: 16 } as const;
  for (const arch of studentNames()) {
    for (const head of [linear, mlp]) requireKnownHead({ arch, head, init: null });
  }
  registerEncoder({
    ...TINY_ENCODER,
    name: "projector_net",
    trace(b, images, head) {
      const { feature } = TINY_ENCODER.trace(b, images, { kind: "none", dimension: TINY_ENCODER.features });
      return { feature, embedding: projectionHead(b, "projector", TINY_ENCODER.features, head)(feature) };
    },
  });
  registerEncoder({
    ...TINY_ENCODER,
    name: "one_layer_net",
    trace: (b, images) => TINY_ENCODER.trace(b, images, linear),
  });
  for (
    const [arch, found] of [
      ["projector_net", "none"],
      ["one_layer_net", "one of kind linear and 16 numbers"],
    ]
  ) {
    assertThrows(
      () => requireKnownHead({ arch, head: mlp, init: null }),
      UserError,
      `${arch}: expected a head of kind mlp and 16 numbers under the name fc, by which checkpoints are read, found ${found}; ` +
        'declare it with projectionHead(builder, "fc", features, head)',
    );
  }

  // Before any actor begins.
  using folder = new RunFolder(4);
  const options = folder.options("run", { studentArch: "projector_net" });
  await assertRejects(() => runDistillation(options), UserError, "under the name fc");
});
