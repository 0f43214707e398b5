/** Whether a run that was stopped within an epoch can go on there. */
import type { Fail } from "../../models/checkpoint/checkpoint_error.ts";
import type { SavedResumeState } from "../../models/checkpoint/resume_state.ts";
import { groupOf } from "../../models/training_step.ts";

/** The options that an epoch's order and steps follow from. */
interface EpochOptions {
  batchSize: number;
  seed: number;
  accumulate: number;
  resumeAnyway?: boolean;
}

/**
 * Where a checkpoint stopped within its epoch, in batches. Then the rest of the epoch must be what it would have been: its
 * order follows from images, batch size and seed. Where it is not and `resumeAnyway` insists, the epoch begins anew.
 *
 * @throws {CheckpointError} that names the setting which differs
 */
export function checkSameEpoch(
  saved: SavedResumeState,
  { batchSize, seed, accumulate, resumeAnyway = false }: EpochOptions,
  batchesPerEpoch: number,
  fail: Fail,
): number {
  if (saved.batch === 0) return 0;
  const problems: string[] = [];
  // Checkpoints of before have no batch_size.
  if ((saved.batchSize ?? batchSize) !== batchSize) {
    const then = saved.batchSize;
    problems.push(`batches of ${then}, but --batch-size is ${batchSize}; resume with --batch-size ${then}`);
  }
  if ((saved.seed ?? seed) !== seed) {
    const then = saved.seed;
    problems.push(`a run with --seed ${then}, but --seed is ${seed}; resume with --seed ${then}`);
  }
  if ((saved.batchesPerEpoch ?? batchesPerEpoch) !== batchesPerEpoch) {
    const then = saved.batchesPerEpoch;
    problems.push(`${then} batches, but now there are ${batchesPerEpoch}; resume with the same images`);
  }
  if (problems.length === 0 && groupOf(saved.batch, batchesPerEpoch, accumulate).index > 0) {
    problems.push(
      `${saved.batch} batches so far, in the middle of a step of --accumulate ${accumulate}; resume with that run's ` +
        "--accumulate",
    );
  }
  if (problems.length === 0 && saved.batch >= batchesPerEpoch) {
    problems.push(`more than ${saved.batch} batches, but now there are ${batchesPerEpoch}`);
  }
  if (problems.length === 0) return saved.batch;
  if (resumeAnyway) return 0;
  throw fail(`stopped within an epoch of ${problems[0]}, or restart that epoch with --resume-anyway`);
}
