/** How well the stages of a distillation overlap. */
import { sampleOptions } from "../methods/seed/defaults.ts";
import type { DistillEvent } from "../methods/seed/events.ts";
import { runDistillation } from "../methods/seed/run.ts";
import { type ActorShare, type RunProfile, sharesOf } from "../actors/run_profile.ts";

/** Steps of the run; the first are left out of the rate, while the stages fill. */
const STEPS = 40;
const BATCH = 32;

/** What a run of some steps showed. */
export interface PipelineFacts {
  /** From the first step to the last. */
  imagesPerSecond: number;
  /** How each stage spent that time. */
  stages: readonly ActorShare[];
}

/** Distils a student on the bundled images for some steps, without an evaluation. */
export async function measurePipeline(studentArch: string, imageSize: number): Promise<PipelineFacts> {
  const output = await Deno.makeTempDir({ prefix: "seed_bench_" });
  try {
    let profile: RunProfile | undefined;
    const options = sampleOptions({
      output,
      studentArch,
      imageSize,
      batchSize: BATCH,
      limitSteps: STEPS,
      testData: null,
      insight: false,
    });
    const take = (event: DistillEvent) => {
      if (event.type === "profile") profile = event;
    };
    await runDistillation(options, take, undefined, undefined, { profile: true });
    const stages = sharesOf(profile!, { actor: "student_trainer", message: "train" })
      .filter(({ actor }) => actor !== "monitor");
    return { imagesPerSecond: 1000 * BATCH * STEPS / stages[0].totalMs, stages };
  } finally {
    await Deno.remove(output, { recursive: true });
  }
}
