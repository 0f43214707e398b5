// What a distillation may be told at once: mixed precision, activations computed again, accumulation, small views and the loss
// of tokens, with vision transformers as student and teacher.
import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { distill } from "../../../methods/runs.ts";
import type { DistillOptions } from "../../../methods/seed/options.ts";
import { openGpu } from "../../../kernels/gpu.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import { drawTeacher } from "../../actors/drawn_teacher.ts";
import { digestFile, RunFolder } from "../../actors/small_run.ts";
import { skip } from "../../skip.ts";

const ARCH = "dino_vit_p8_w64_b2_h1_f64_r0_g4";

/** Everything but mixed precision, in a few batches. */
const TOGETHER: Partial<DistillOptions> = {
  ...{ imageSize: 32, batchSize: 4, queue: 16, epochs: 1, dim: 16, teacherSize: 48 },
  ...{ loss: "tokens", mixup: 1, accumulate: 2, smallViews: 2, smallSize: 16 },
};

/** Runs by what differs between them: teacher and student are vision transformers of the same small shape. */
async function runsOf(folder: RunFolder): Promise<(changes?: Partial<DistillOptions>) => Promise<Found>> {
  const teacher = join(folder.path, "teacher.pth.tar");
  await drawTeacher(teacher, ARCH, { kind: "mlp", dimension: 16 }, 1);
  let runs = 0;
  return async (changes = {}) => {
    const options = folder.options(`run ${runs++}`, {
      ...{ distill: teacher, teacherArch: ARCH, studentArch: ARCH, optimizer: "adamw", lr: 0.001 },
      ...TOGETHER,
      ...changes,
    });
    const { checkpoint, firstLoss, lastLoss } = await distill(options).result;
    return { checkpoint, losses: [firstLoss, lastLoss] };
  };
}

interface Found {
  checkpoint: string;
  losses: number[];
}

Deno.test("a vision transformer is taught tokens with small views and accumulation, to the same bits when it is resumed", async () => {
  using folder = new RunFolder(16);
  const run = await runsOf(folder);
  const whole = await run();
  assert(whole.losses.every(Number.isFinite));
  const begun = await run({ limitSteps: 1 });
  const resumed = await run({ resume: begun.checkpoint, workers: 2 });
  assertEquals(await digestFile(resumed.checkpoint), await digestFile(whole.checkpoint));
  // What is computed again is the same.
  const again = await run({ checkpointActivations: true });
  assertEquals(again.losses, whole.losses);
  assertEquals(await weightsOf(again.checkpoint), await weightsOf(whole.checkpoint));
  // Each of them counts.
  for (const changes of [{ mixup: 0 }, { accumulate: 1 }, { smallViews: 0 }, { loss: "seed" }]) {
    assertNotEquals((await run(changes)).losses, whole.losses, JSON.stringify(changes));
  }
});

Deno.test("a vision transformer is taught tokens in mixed precision, with activations computed again", async () => {
  const gpu = await openGpu("combinations");
  const { hasHalf } = gpu.adapter;
  gpu.destroy();
  if (!hasHalf) return skip("tokens in mixed precision", "the adapter has no float16");
  using folder = new RunFolder(8);
  const run = await runsOf(folder);
  const whole = await run();
  const half = await run({ amp: true });
  assertNotEquals(half.losses, whole.losses);
  for (const [i, loss] of whole.losses.entries()) assertAlmostEquals(half.losses[i], loss, 0.02 * loss);
  const again = await run({ amp: true, checkpointActivations: true });
  assertEquals(again.losses, half.losses);
  // What is trained is kept in float32: most of it is no number of float16.
  const weights = await weightsOf(half.checkpoint);
  assert(weights.filter((value) => Math.fround(value) !== new Float16Array([value])[0]).length > 100);
});

/** A weight of the student's, and one of the loss's. */
async function weightsOf(checkpoint: string): Promise<number[]> {
  using state = await loadStateDict(checkpoint);
  const keys = [...state.tensors.keys()].filter((key) =>
    /(module|student).*blocks\.1\.attn\.qkv\.weight$|^loss_tokens\.weight$/.test(key)
  );
  assert(keys.length >= 2, keys.join(", "));
  const read = await Promise.all(keys.map((key) => state.tensors.get(key)!.read()));
  return read.flatMap((values) => [...values]);
}
