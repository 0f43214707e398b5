/** `resume: "auto"`: a run goes on from the newest checkpoint of its output folder, where there is one. */
import { UserError } from "../errors.ts";
import { CheckpointError } from "../models/checkpoint/checkpoint_error.ts";
import { findNewestCheckpoint } from "../models/checkpoint/run_checkpoints.ts";

/**
 * Returns the newest whole checkpoint of a folder whose numbers are finite; `null` where there is none.
 *
 * @param method whose runs write to the folder
 * @param warn told of newer ones that are passed over
 * @throws {UserError} where none of them will do: beginning anew would overwrite what else there is of the run
 */
export async function findCheckpointToResume(
  output: string,
  { checkResume }: { checkResume(checkpoint: string): Promise<void> },
  warn: (text: string) => void,
): Promise<string | null> {
  const passOver = (problem: string) => warn(`--resume auto skips a checkpoint: ${problem}`);
  try {
    return await findNewestCheckpoint(output, passOver, ({ path }) => checkResume(path));
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    throw new UserError(
      `--resume auto: no usable checkpoint in ${output}, e.g. ${error.message}. Remove them to start a new run, or choose ` +
        "another output directory",
      { cause: error },
    );
  }
}
