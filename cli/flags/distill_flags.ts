/**
 * The command line of `deno task distill`. A run without `--data` uses the bundled images and its defaults suit them; with
 * `--data` the defaults are the paper's.
 */

import { SAMPLE_TEACHER } from "../../data/sample.ts";
import type { FlagTable, FlagValues } from "../../methods/flag_table.ts";
import { PAPER_ADAMW, PAPER_DEFAULTS, SAMPLE_ADAMW, SAMPLE_DEFAULTS } from "../../methods/seed/defaults.ts";
import {
  DISTILL_DEFAULT_NOTES,
  DISTILL_RETIRED,
  distillFlags,
  type DistillNames,
} from "../../methods/seed/flags.ts";
import { recipeSettings } from "../../methods/seed/recipes.ts";
import type { Stem } from "../../models/encoder.ts";
import { DEFAULT_LOSS, ignoresTemperature, usesMaps } from "../../models/loss/losses.ts";
import { findEncoder } from "../../models/registry.ts";
import type { AskedViews } from "../../methods/encoder_views.ts";
import type { DistillOptions, TeacherSsl } from "../../methods/seed/options.ts";
import { checkTraining, chooseOptimizer, readTraining, trainingRunFlags } from "./encoder_training_flags.ts";
import type { ResumeFlags } from "../terminal/interrupt.ts";
import { flagName, type FlagsContext, helpExtent, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";
import {
  RUN_DEFAULT_NOTES,
  type RunChoices,
  takeRunFlags,
  TRACE_DEFAULT_NOTES,
  type TraceChoices,
} from "./run_flags.ts";

function makeTable(names: DistillNames) {
  const { insight, ...own } = distillFlags(names);
  return { ...own, ...trainingRunFlags(insight) } as const satisfies FlagTable;
}

type Given = FlagValues<ReturnType<typeof makeTable>>;

/** What the program depends on besides the arguments. */
export interface DistillFlagsContext extends FlagsContext, DistillNames {
  /** Names the default output folder; the present by default. */
  now?: Date;
}

/** The options of a run, but that the teacher and its views may have to be told from its checkpoint: `null`. */
export interface DistillRequest
  extends AskedViews, Omit<DistillOptions, "teacherArch" | "teacherSsl" | "dim" | keyof AskedViews> {
  teacherArch: string | null;
  teacherSsl: TeacherSsl | null;
  /** First layers of the student; those that `studentArch` has where it is left out. */
  stem?: Stem;
  /** Heads of a teacher that is a vision transformer; left out where its checkpoint tells. */
  heads?: number;
  /** Left out where the teacher decides. */
  dim?: number;
}

/** What the command line asks for. */
export type DistillCommand =
  | { help: string }
  | RunChoices & TraceChoices & {
    help: undefined;
    options: DistillRequest;
    /** Name of the recipe that the options are made from. */
    recipe: string | undefined;
    /** Go on with the newest checkpoint of the output folder, if there is one. */
    resumesIfThere: boolean;
    resumeFlags: ResumeFlags;
    /** Sentences to show before the run. */
    warnings: string[];
  };

/** The text of `deno task distill --help`. */
export function distillHelp(context: DistillFlagsContext): string {
  return formatHelp({
    usage: "deno task distill [flags]     (or ./seed distill [flags])",
    intro: [
      "Distils a self-supervised teacher into a student without labels (SEED, ICLR 2021).",
      `Without flags, it distils the bundled teacher into a ${SAMPLE_DEFAULTS.studentArch} on the bundled images, in a few ` +
      "minutes. With --data and --distill, it uses your images and teacher, and the paper's defaults.",
    ],
    table: makeTable(context),
    defaults: {
      ...DISTILL_DEFAULT_NOTES,
      ...RUN_DEFAULT_NOTES,
      printFreq: `${RUN_DEFAULT_NOTES.printFreq}; the original: 1000`,
      ...TRACE_DEFAULT_NOTES,
    },
    notes: [
      "Where the original code's default differs from the paper's, it is shown too. Flag names accept hyphens and " +
      "underscores (--teacher-arch, --teacher_arch). The original's multi-process flags (--local_rank, --distributed, " +
      "--dist-url and the like) are accepted and ignored. Paths are relative to the current directory.",
    ],
    width: context.width,
    extent: context.extent,
  });
}

function checkTogether(options: DistillRequest, given: Given): string[] {
  const { queue, smallViews, loss = DEFAULT_LOSS } = options;
  const warnings = checkTraining(options, given, { flag: "--queue", size: queue });
  if (given.smallSize !== undefined && smallViews === 0) {
    warnings.push("--small-size has no effect without --small-views");
  }
  for (const name of ["tokenT", "tokenWeight"] as const) {
    if (given[name] === undefined || usesMaps(loss)) continue;
    warnings.push(`--${flagName(name)} has no effect with --loss ${loss}: it needs --loss tokens`);
  }
  for (const [name, temperature] of [["temp", "temperature"], ["distillT", "teacherTemperature"]] as const) {
    if (given[name] === undefined || !ignoresTemperature(loss, temperature)) continue;
    warnings.push(`--${flagName(name)} has no effect with --loss ${loss}, which ignores it`);
  }
  return warnings;
}

/**
 * Reads the command line of `deno task distill`. Looks at no file: see `checkDistillInputs` for that.
 *
 * @throws {UsageError} for a flag that is unknown or wrong, and for flags that do not go together
 */
export function parseDistillFlags(args: readonly string[], context: DistillFlagsContext): DistillCommand {
  const extent = helpExtent(args);
  if (extent !== undefined) return { help: distillHelp({ ...context, extent }) };
  const { values: given, warnings } = parseFlags(makeTable(context), args, { retired: DISTILL_RETIRED });
  if (given.data !== undefined && given.distill === undefined) {
    throw new UsageError(
      "--data needs --distill FILE, the teacher checkpoint. The bundled one (a ResNet-18 trained on 32 x 32 images) " +
        `is ${SAMPLE_TEACHER}`,
    );
  }
  const { folder = callersFolder(), now = new Date() } = context;
  const defaults = given.data === undefined ? SAMPLE_DEFAULTS : PAPER_DEFAULTS;
  const late: string[] = []; // they stand behind what is wrong with the method's own flags
  const { choices: shown, rest: own } = takeRunFlags(given, late);
  const { options: shared, rest, choices } = readTraining("distill", own, defaults.cache, { folder, now });
  const { recipe, distill, studentInit, ...flags } = rest;
  const settings: DistillRequest = {
    teacherArch: null,
    teacherSsl: null,
    ...defaults,
    dim: undefined,
    imageSize: undefined,
    evalResize: undefined,
    ...recipe && recipeSettings(recipe, flags),
    ...flags,
    ...shared,
    distill: distill === undefined ? SAMPLE_TEACHER : resolvePath(distill, folder),
    studentInit: studentInit === undefined ? null : resolvePath(studentInit, folder),
  };
  const adamw = given.data === undefined ? SAMPLE_ADAMW : PAPER_ADAMW;
  const options = chooseOptimizer(settings, findEncoder(settings.studentArch), flags, adamw);
  warnings.push(...checkTogether(options, given), ...late);
  return { help: undefined, options, recipe, ...choices, ...shown, warnings };
}
