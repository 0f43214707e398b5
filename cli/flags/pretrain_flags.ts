/**
 * The command line of `deno task pretrain`. A run without `--data` uses the bundled images and its defaults suit them; with
 * `--data` the defaults are MoCo-v2's.
 */
import { UserError } from "../../errors.ts";
import type { FlagTable, FlagValues } from "../../methods/flag_table.ts";
import {
  PRETRAIN_ADAMW,
  PRETRAIN_DEFAULTS,
  PRETRAIN_SAMPLE_ADAMW,
  PRETRAIN_SAMPLE_DEFAULTS,
  withoutDropPath,
} from "../../methods/moco/defaults.ts";
import { PRETRAIN_DEFAULT_NOTES, PRETRAIN_RETIRED, pretrainFlags } from "../../methods/moco/flags.ts";
import type { Stem } from "../../models/encoder.ts";
import { askedSize, findEncoder } from "../../models/registry.ts";
import { checkSplits } from "../../methods/moco/splits.ts";
import type { PretrainOptions } from "../../methods/moco/options.ts";
import type { EncoderNames } from "../../methods/shared_flags.ts";
import { checkTraining, chooseOptimizer, readTraining, trainingRunFlags } from "./encoder_training_flags.ts";
import type { ResumeFlags } from "../terminal/interrupt.ts";
import { type FlagsContext, helpExtent, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";
import {
  RUN_DEFAULT_NOTES,
  type RunChoices,
  takeRunFlags,
  TRACE_DEFAULT_NOTES,
  type TraceChoices,
} from "./run_flags.ts";

function makeTable(names: EncoderNames) {
  const { insight, ...own } = pretrainFlags(names);
  return { ...own, ...trainingRunFlags(insight) } as const satisfies FlagTable;
}

type Given = FlagValues<ReturnType<typeof makeTable>>;

/** What the program depends on besides the arguments. */
export interface PretrainFlagsContext extends FlagsContext, EncoderNames {
  /** Names the default output folder; the present by default. */
  now?: Date;
}

/** The options of a run, but that the encoder's first layers may be said apart. */
export interface PretrainRequest extends PretrainOptions {
  /** First layers of the encoder; those that `arch` has where it is left out. */
  stem?: Stem;
}

/** What the command line asks for. */
export type PretrainCommand =
  | { help: string }
  | RunChoices & TraceChoices & {
    help: undefined;
    /** `testData` is `null` where it was not given. */
    options: PretrainRequest;
    /** Go on with the newest checkpoint of the output folder, if there is one. */
    resumesIfThere: boolean;
    resumeFlags: ResumeFlags;
    /** Sentences to show before the run. */
    warnings: string[];
  };

/** The text of `deno task pretrain --help`. */
export function pretrainHelp(context: PretrainFlagsContext): string {
  return formatHelp({
    usage: "deno task pretrain [flags]     (or ./seed pretrain [flags])",
    intro: [
      "Pretrains an encoder on images without labels by momentum contrast (MoCo-v2, arXiv 2003.04297): a teacher for " +
      "deno task distill, made from your own images.",
      `Without flags a ${PRETRAIN_SAMPLE_DEFAULTS.arch} learns from the bundled images, in a few minutes. With --data the ` +
      "images are yours, and the defaults are MoCo-v2's.",
    ],
    table: makeTable(context),
    defaults: { ...PRETRAIN_DEFAULT_NOTES, ...RUN_DEFAULT_NOTES, ...TRACE_DEFAULT_NOTES },
    notes: [
      "The flags are those of MoCo's main_moco.py. Its defaults are MoCo-v1's; where they differ, they are named too. Hyphens " +
      "and underscores are the same in names (--moco_k, --moco-k). MoCo's flags for several processes (--world-size, " +
      "--dist-url and the like) are accepted and ignored. Paths start from the current folder.",
    ],
    width: context.width,
    extent: context.extent,
  });
}

/** {@linkcode checkSplits} of a command line. */
function requireSplits(options: PretrainOptions): void {
  try {
    checkSplits(options);
  } catch (error) {
    throw error instanceof UserError ? new UsageError(error.message) : error;
  }
}

/** Checkpoints that may say which encoder is trained. */
export interface CheckpointsOfArch {
  /** That of `--pretrained`. */
  pretrained: string;
  /** The one that is resumed from, or `auto`; `undefined` where the run begins. */
  resume: string | undefined;
  /** The output folder, where it is given. */
  output: string | undefined;
}

/**
 * Finds out which checkpoints say which encoder is trained, of a command line that has `--pretrained` and no `--arch`.
 *
 * @returns `undefined` for another command line
 * @throws {UsageError} for a flag that is unknown or wrong
 */
export function checkpointsOfArch(
  args: readonly string[],
  context: PretrainFlagsContext,
): CheckpointsOfArch | undefined {
  if (helpExtent(args) !== undefined) return undefined;
  const { values } = parseFlags(makeTable(context), args, { retired: PRETRAIN_RETIRED });
  const { arch, pretrained, resume, output } = values;
  if (arch !== undefined || pretrained === undefined) return undefined;
  const at = (path: string) => resolvePath(path, context.folder ?? callersFolder());
  return {
    pretrained: at(pretrained),
    resume: resume === undefined || resume === "auto" ? resume : at(resume),
    output: output === undefined ? undefined : at(output),
  };
}

/**
 * Reads the command line of `deno task pretrain`. Looks at no file: see `checkPretrainInputs` for that, and
 * `parsePretrainFlagsOf` for the encoder that a checkpoint says.
 *
 * @throws {UsageError} for a flag that is unknown or wrong, and for flags that do not go together
 */
export function parsePretrainFlags(args: readonly string[], context: PretrainFlagsContext): PretrainCommand {
  const extent = helpExtent(args);
  if (extent !== undefined) return { help: pretrainHelp({ ...context, extent }) };
  const { values: given, warnings } = parseFlags(makeTable(context), args, { retired: PRETRAIN_RETIRED });
  const { folder = callersFolder(), now = new Date() } = context;
  const late: string[] = []; // they stand behind what is wrong with the method's own flags
  const { choices: shown, rest: own } = takeRunFlags<Given>(given, late);
  const defaults = given.data === undefined ? PRETRAIN_SAMPLE_DEFAULTS : PRETRAIN_DEFAULTS;
  const { options: shared, rest, choices } = readTraining("pretrain", own, defaults.cache, { folder, now });
  const { arch = defaults.arch } = rest;
  const pretrained = rest.pretrained === undefined ? null : resolvePath(rest.pretrained, folder);
  const imageSize = askedSize(arch, rest.imageSize) ?? defaults.imageSize;
  const settings: PretrainRequest = {
    ...defaults,
    ...rest,
    ...shared,
    imageSize,
    pretrained,
  };
  const encoder = withoutDropPath(findEncoder(settings.arch));
  const adamw = given.data === undefined ? PRETRAIN_SAMPLE_ADAMW : PRETRAIN_ADAMW;
  const options = chooseOptimizer(settings, encoder, rest, adamw);
  requireSplits(options);
  warnings.push(...checkTraining(options, given, { flag: "--moco-k", size: options.mocoK }), ...late);
  return { help: undefined, options, ...choices, ...shown, warnings };
}
