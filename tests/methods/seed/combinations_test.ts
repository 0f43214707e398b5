// What a distillation may be told at once: mixed precision, activations computed again, accumulation, small views and the loss
// of tokens, with vision transformers as student and teacher.
import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { distill } from "../../../methods/runs.ts";
import type { DistillOptions } from "../../../methods/seed/options.ts";
import { openGpu } from "../../../kernels/gpu.ts";
import { readTrainingCheckpoint } from "../../../methods/encoder_training/checkpoint.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { drawTeacher } from "../../actors/drawn_teacher.ts";
import { digestFile, RunFolder } from "../../actors/small_run.ts";
import { IS_LONG } from "../../long.ts";
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
    const { teacherArch: _, teacherSsl: __, ...options } = folder.options(`run ${runs++}`, {
      ...{ distill: teacher, studentArch: ARCH, optimizer: "adamw", lr: 0.001 },
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
  assertEquals(await weightOf(again.checkpoint), await weightOf(whole.checkpoint));
  // Each of them counts.
  for (const changes of [{ mixup: 0 }, { accumulate: 1 }, { smallViews: 0 }, { loss: "seed" }]) {
    assertNotEquals((await run(changes)).losses, whole.losses, JSON.stringify(changes));
  }
});

Deno.test("a vision transformer is taught tokens in mixed precision, with activations computed again", {
  ignore: !IS_LONG, // a run in mixed precision, and tokens in float32, are in every run of the tests
}, async () => {
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
  const weights = await weightOf(half.checkpoint);
  const halves = new Float16Array(weights);
  assert(weights.filter((value, i) => value !== halves[i]).length > weights.length / 2);
});

/** A weight of the student's. */
async function weightOf(checkpoint: string): Promise<Float32Array> {
  using file = await openCheckpointFile(checkpoint);
  const { encoder } = readTrainingCheckpoint(DISTILL_CHECKPOINT, file);
  return await encoder.get("blocks.1.attn.qkv.weight")!.read();
}
