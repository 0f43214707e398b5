/** What the command lines of tasks that look at an encoder have in common. */
import type { EncoderNames } from "../../methods/shared_flags.ts";
import type { EncoderRole } from "../../models/encoder.ts";
import { type FlagsContext, UsageError } from "./flags.ts";

/** What such a program depends on besides the arguments. */
export interface EncoderFlagsContext extends FlagsContext, EncoderNames {}

/**
 * Checks that there is an encoder.
 *
 * @param needed the other flags that would say one
 * @throws {UsageError} where there is neither a checkpoint nor a name
 */
export function requireEncoder(
  { pretrained, arch }: { pretrained?: string; arch?: string },
  needed = "--pretrained FILE,",
): void {
  if (pretrained !== undefined || arch !== undefined) return;
  throw new UsageError(`nothing to evaluate: give ${needed} or --arch NAME for random weights`);
}

/**
 * Checks `--which`.
 *
 * @throws {UsageError} where it names the teacher of no checkpoint
 */
export function requireCheckpointOf(which: EncoderRole | undefined, pretrained: string | undefined): void {
  if (which !== "teacher" || pretrained !== undefined) return;
  throw new UsageError("--which teacher needs --pretrained FILE, the checkpoint with the teacher");
}
