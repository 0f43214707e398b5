/** What the command lines of methods that train an encoder have in common. */
import { join } from "node:path";
import { SAMPLE_DATA } from "../../data/sample.ts";
import { NOT_ASKED_FOR } from "../../methods/encoder_training/defaults.ts";
import type { EncoderTrainingOptions, SaveInterval } from "../../methods/encoder_training/options.ts";
import { type StepOptions, withOptimizer } from "../../methods/encoder_training/step_options.ts";
import { UserError } from "../../errors.ts";
import type { BooleanFlag, FlagTable } from "../../methods/flag_table.ts";
import { UsageError } from "./flags.ts";
import { resolveCache, resolvePath } from "./paths.ts";
import { pluginOption } from "./plugin.ts";
import {
  type ChosenTraining,
  type GivenTraining,
  readResumeFlag,
  requireDataOf,
  requireEpochs,
  runFlags,
  SHOW_FLAGS,
  TRACE_FLAGS,
  warningsOfTraining,
} from "./run_flags.ts";
import { runName } from "./run_name.ts";

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

/**
 * Looks at flags that do not go together.
 *
 * @param queue the queue's size, and the flag that says it
 * @returns warnings
 * @throws {UsageError} where a run cannot have them
 */
export function checkTraining(
  options: ChosenTraining & Pick<EncoderTrainingOptions, "batchSize" | "startEpoch" | "epochs">,
  given: GivenTraining,
  queue: { flag: string; size: number },
): string[] {
  const { batchSize } = options;
  if (queue.size % batchSize !== 0) {
    const below = Math.floor(queue.size / batchSize) * batchSize;
    const near = below === 0 ? String(batchSize) : `${below} or ${below + batchSize}`;
    throw new UsageError(
      `${queue.flag} ${queue.size} is not a multiple of --batch-size ${batchSize}: use ${queue.flag} ${near}, or another ` +
        "batch size",
    );
  }
  requireEpochs(options);
  return warningsOfTraining(given, options);
}

/**
 * {@linkcode withOptimizer} of a command line.
 *
 * @throws {UsageError} for stochastic depth of an encoder that has none
 */
export function chooseOptimizer<Options extends StepOptions>(
  ...settings: Parameters<typeof withOptimizer<Options>>
): Options {
  try {
    return withOptimizer(...settings);
  } catch (error) {
    throw error instanceof UserError ? new UsageError(error.message) : error;
  }
}

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/** Reads `--save-every`; `null` where it is not given. */
function parseSaveEvery(text: string | undefined): SaveInterval | null {
  if (text === undefined) return null;
  const [, number, unit] = /^(\d+(?:\.\d+)?)([smh]?)$/.exec(text) ?? [];
  const value = Number(number);
  if (value > 0 && unit !== "") return { seconds: value * SECONDS[unit] };
  if (value > 0 && Number.isSafeInteger(value)) return { steps: value };
  throw new UsageError(
    `--save-every: expected a number of steps, such as 500, or a time, such as 90s, 30m or 2h, found "${text}"`,
  );
}

/** What the command lines say alike. */
interface SharedFlags {
  profile?: boolean;
  traceActors?: boolean;
  data?: string;
  testData?: string;
  output?: string;
  resume?: string;
  saveEvery?: string;
  limitSteps?: number;
  plugin?: string;
  cache?: string;
}

/**
 * Reads what the command lines say alike.
 *
 * @param cache the default
 * @returns options, the rest of the flags, and what is no option
 * @throws {UsageError} for `--resume auto` without `--output`, `--test-data` without `--data`, and a wrong `--save-every`
 */
export function readTraining<Given extends SharedFlags>(
  task: string,
  given: Given,
  cache: string,
  { folder, now }: { folder: string; now: Date },
) {
  const {
    profile = false,
    traceActors = false,
    data,
    testData,
    output,
    resume,
    saveEvery,
    limitSteps,
    plugin,
    cache: asked,
    ...rest
  } = given;
  requireDataOf({ testData, data }, "--data");
  const { resumesIfThere, resumeFlags, resume: checkpoint } = readResumeFlag({ resume, output }, folder);
  const options = {
    ...NOT_ASKED_FOR,
    data: data === undefined ? SAMPLE_DATA : resolvePath(data, folder),
    testData: testData === undefined ? null : resolvePath(testData, folder),
    output: resolvePath(output ?? join("output", runName(task, now)), folder),
    resume: checkpoint,
    saveEvery: parseSaveEvery(saveEvery),
    limitSteps: limitSteps ?? null,
    cache: resolveCache(asked ?? cache, folder),
    ...pluginOption(plugin, folder),
  };
  return { options, rest, choices: { resumesIfThere, resumeFlags, profile, traceActors } };
}
