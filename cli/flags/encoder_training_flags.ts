/** What the command lines of methods that train an encoder have in common. */
import type { EncoderTrainingOptions, SaveInterval } from "../../methods/encoder_training/options.ts";
import type { BooleanFlag, FlagTable } from "../../methods/flag_table.ts";
import { UsageError } from "./flags.ts";
import { requireEpochs, runFlags, SHOW_FLAGS, TRACE_FLAGS, warnOfResumeAnyway } from "./run_flags.ts";

const { ui, uiHost, ...screen } = SHOW_FLAGS;

/** Returns the rows that follow a method's own; `insight` is about what the page shows, and so stands beside it. */
export function trainingRunFlags<Insight extends BooleanFlag>(insight: Insight) {
  return {
    ...runFlags(
      "write a TensorBoard event file: losses, learning rate, kNN, throughput, and views of a batch",
    ),
    ...TRACE_FLAGS,
    ui,
    uiHost,
    insight,
    ...screen,
  } as const satisfies FlagTable;
}

/** Flags as they were given, of those that do not go together. */
interface Given {
  schedule?: readonly number[];
  resume?: string;
  resumeAnyway?: boolean;
  startEpoch?: number;
}

/**
 * Looks at flags that do not go together.
 *
 * @param queue the queue's size, and the flag that says it
 * @returns warnings
 * @throws {UsageError} where a run cannot have them
 */
export function checkTraining(
  options: Pick<EncoderTrainingOptions, "batchSize" | "startEpoch" | "epochs" | "cos">,
  given: Given,
  queue: { flag: string; size: number },
): string[] {
  const { batchSize, cos } = options;
  if (queue.size % batchSize !== 0) {
    const below = Math.floor(queue.size / batchSize) * batchSize;
    const near = below === 0 ? String(batchSize) : `${below} or ${below + batchSize}`;
    throw new UsageError(
      `${queue.flag} ${queue.size} is not a multiple of --batch-size ${batchSize}: use ${queue.flag} ${near}, or another ` +
        "batch size",
    );
  }
  requireEpochs(options);
  const warnings: string[] = [];
  if (given.schedule !== undefined && cos) {
    warnings.push(
      "--schedule has no effect with the cosine schedule: add --no-cos to use the step schedule",
    );
  }
  warnOfResumeAnyway(given, warnings);
  if (given.resume !== undefined && given.startEpoch !== undefined) {
    warnings.push("--start-epoch has no effect with --resume: the checkpoint sets the epoch");
  }
  return warnings;
}

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/** Reads `--save-every`; `null` where it is not given. */
export function parseSaveEvery(text: string | undefined): SaveInterval | null {
  if (text === undefined) return null;
  const [, number, unit] = /^(\d+(?:\.\d+)?)([smh]?)$/.exec(text) ?? [];
  const value = Number(number);
  if (value > 0 && unit !== "") return { seconds: value * SECONDS[unit] };
  if (value > 0 && Number.isSafeInteger(value)) return { steps: value };
  throw new UsageError(
    `--save-every: expected a number of steps, such as 500, or a time, such as 90s, 30m or 2h, found "${text}"`,
  );
}
