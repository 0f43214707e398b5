/** How well the stages of a distillation overlap. */
import { sampleOptions } from "../methods/seed/defaults.ts";
import type { DistillOptions } from "../methods/seed/options.ts";
import { distill } from "../methods/runs.ts";
import { type ActorShare, type RunProfile, sharesOf } from "../actors/run_profile.ts";

/** Steps of the run. All of them count, from where the first begins in the trainer: the stages before it have begun then. */
const STEPS = 40;
const BATCH = 32;

/** What a run of some steps showed. */
export interface PipelineFacts {
  /** From the first step to the last. */
  imagesPerSecond: number;
  /** How each stage spent that time. */
  stages: readonly ActorShare[];
}

/** How busy the stages are once the first epoch is over. */
interface LaterEpochs extends Pick<DistillOptions, "data" | "cache"> {
  /** Steps of an epoch. */
  stepsPerEpoch: number;
  epochs: number;
}

/**
 * Distils a student on the bundled images for some steps, without an evaluation.
 *
 * @param later the same for some epochs of other images, of which the first does not count
 */
export async function measurePipeline(
  studentArch: string,
  imageSize: number,
  later?: LaterEpochs,
): Promise<PipelineFacts> {
  const output = await Deno.makeTempDir({ prefix: "seed_bench_" });
  try {
    let profile: RunProfile | undefined;
    const options = sampleOptions({
      output,
      studentArch,
      imageSize,
      batchSize: BATCH,
      limitSteps: later === undefined ? STEPS : null,
      ...later && { data: later.data, cache: later.cache, epochs: later.epochs },
      testData: null,
      insight: false,
    });
    for await (const event of distill(options, { profile: true })) {
      if (event.type === "profile") profile = event;
    }
    const skipped = later?.stepsPerEpoch ?? 0;
    const stages = sharesOf(profile!, { actor: "student_trainer", message: "train" }, skipped)
      .filter(({ actor }) => actor !== "monitor");
    const steps = later === undefined ? STEPS : later.stepsPerEpoch * (later.epochs - 1);
    return { imagesPerSecond: 1000 * BATCH * steps / stages[0].totalMs, stages };
  } finally {
    await Deno.remove(output, { recursive: true });
  }
}
