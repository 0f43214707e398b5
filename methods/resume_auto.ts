/** `resume: "auto"`: a run goes on from the newest checkpoint of its output folder, where there is one. */
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { CheckpointError } from "../models/checkpoint/checkpoint_error.ts";
import { BEST_CHECKPOINT, findNewestCheckpoint } from "../models/checkpoint/run_checkpoints.ts";

/**
 * Returns the newest whole checkpoint of a folder whose numbers are finite; `null` where there is none.
 *
 * @param method whose runs write to the folder
 * @param warn told of newer ones that are passed over
 * @throws {UserError} where none of them will do: beginning anew would overwrite what else there is of the run
 */
export async function findCheckpointToResume(
  output: string,
  method: { checkResume(checkpoint: string): Promise<void> },
  warn: (text: string) => void,
): Promise<string | null> {
  const passOver = (problem: string) => warn(`--resume auto skips a checkpoint: ${problem}`);
  try {
    return await findNewestCheckpoint(output, passOver, ({ path }) => method.checkResume(path));
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    const best = join(output, BEST_CHECKPOINT);
    const goOn = await isUsable(best, method)
      ? `Go on from the best epoch with --resume ${best}, remove`
      : "Remove";
    throw new UserError(
      `--resume auto: no usable checkpoint in ${output}, e.g. ${error.message}. ${goOn} them to start a new run, or choose ` +
        "another output directory",
      { cause: error },
    );
  }
}

async function isUsable(
  checkpoint: string,
  method: { checkResume(checkpoint: string): Promise<void> },
): Promise<boolean> {
  try {
    await method.checkResume(checkpoint);
    return true;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return false;
  }
}
