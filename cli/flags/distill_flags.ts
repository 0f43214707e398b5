/**
 * The command line of `deno task distill`. A run without `--data` uses the bundled images and its defaults suit them; with
 * `--data` the defaults are the paper's.
 */

import { join } from "node:path";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../data/sample.ts";
import type { FlagTable, FlagValues } from "../../methods/flag_table.ts";
import { PAPER_DEFAULTS, RECIPES, SAMPLE_DEFAULTS } from "../../methods/seed/defaults.ts";
import {
  DISTILL_DEFAULT_NOTES,
  DISTILL_RETIRED,
  distillFlags,
  type DistillNames,
} from "../../methods/seed/flags.ts";
import type { Stem } from "../../models/encoder.ts";
import type { AskedViews } from "../../methods/encoder_views.ts";
import type { DistillOptions, SaveInterval, TeacherSsl } from "../../methods/seed/options.ts";
import { GENERAL } from "../../methods/shared_flags.ts";
import { type FlagsContext, helpExtent, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";
import { pluginOption } from "./plugin.ts";
import {
  readResumeFlag,
  requireEpochs,
  RUN_DEFAULT_NOTES,
  type RunChoices,
  runFlags,
  SHOW_FLAGS,
  takeRunFlags,
  warnOfResumeAnyway,
} from "./run_flags.ts";
import { runName } from "./run_name.ts";

const { ui, uiHost, ...screen } = SHOW_FLAGS;

function makeTable(names: DistillNames) {
  const { insight, ...own } = distillFlags(names);
  return {
    ...own,
    ...runFlags(
      "write an event file for TensorBoard: losses, learning rate, kNN, throughput, and views of a batch",
    ),
    traceActors: {
      kind: "boolean",
      group: GENERAL,
      help: "write a line to actors.jsonl for every message that an actor handles, and for what it waits for",
    },
    profile: {
      kind: "boolean",
      group: GENERAL,
      help:
        "say at the end where the time went, by actor and by kernel, and write a trace for Chrome or Perfetto",
    },
    ui,
    uiHost,
    insight, // about what the page shows, and so beside it
    ...screen,
  } as const satisfies FlagTable;
}

type Given = FlagValues<ReturnType<typeof makeTable>>;

/** What the program depends on besides the arguments. */
export interface DistillFlagsContext extends FlagsContext, DistillNames {
  /** Names the default output folder; the present by default. */
  now?: Date;
}

/** The options of a run, but that the teacher and its views may have to be told from its checkpoint: `null`. */
export interface DistillRequest
  extends AskedViews, Omit<DistillOptions, "teacherArch" | "teacherSsl" | keyof AskedViews> {
  teacherArch: string | null;
  teacherSsl: TeacherSsl | null;
  /** First layers of the student; those that `studentArch` has where it is left out. */
  stem?: Stem;
}

/** What the command line asks for. */
export type DistillCommand =
  | { help: string }
  | RunChoices & {
    help: undefined;
    options: DistillRequest;
    /** Name of the recipe that the options are made from. */
    recipe: string | undefined;
    /** Go on with the newest checkpoint of the output folder, if there is one. */
    resumesIfThere: boolean;
    /** Find out where the time goes. */
    profile: boolean;
    /** Write down every message. */
    traceActors: boolean;
    /** Sentences to show before the run. */
    warnings: string[];
  };

/** The text of `deno task distill --help`. */
export function distillHelp(context: DistillFlagsContext): string {
  return formatHelp({
    usage: "deno task distill [flags]     (or ./seed distill [flags])",
    intro: [
      "Distils a self-supervised teacher into a student without labels (SEED, ICLR 2021).",
      `Without flags the bundled teacher teaches a ${SAMPLE_DEFAULTS.studentArch} on the bundled images, in a few minutes. ` +
      "With --data and --distill the images and the teacher are yours, and the defaults are the paper's.",
    ],
    table: makeTable(context),
    defaults: {
      ...DISTILL_DEFAULT_NOTES,
      ...RUN_DEFAULT_NOTES,
      printFreq: `${RUN_DEFAULT_NOTES.printFreq}; the original: 1000`,
      profile: "default: off",
      traceActors: "default: off",
    },
    notes: [
      "Where the original's code has another default than the paper, it is named too. Hyphens and underscores are the " +
      "same in names (--teacher_arch, --teacher-arch). The original's flags for several processes (--local_rank, " +
      "--distributed, --dist-url and the like) are accepted and ignored. Paths start from the current folder.",
    ],
    width: context.width,
    extent: context.extent,
  });
}

function checkTogether(options: DistillRequest, given: Given): string[] {
  const { queue, batchSize } = options;
  if (queue % batchSize !== 0) {
    const below = Math.floor(queue / batchSize) * batchSize;
    const near = below === 0 ? String(batchSize) : `${below} or ${below + batchSize}`;
    throw new UsageError(
      `--queue ${queue} is not a multiple of --batch-size ${batchSize}: use --queue ${near}, or another batch size`,
    );
  }
  requireEpochs(options);
  const warnings: string[] = [];
  if (given.schedule !== undefined && options.cos) {
    warnings.push(
      "--schedule has no effect with the cosine schedule: add --no-cos to lower the rate in steps",
    );
  }
  if (given.resume !== undefined && given.studentInit !== undefined && given.resume !== "auto") {
    warnings.push("--student-init has no effect with --resume: the checkpoint has the student");
  }
  warnOfResumeAnyway(given, warnings);
  if (given.resume !== undefined && given.startEpoch !== undefined) {
    warnings.push("--start-epoch has no effect with --resume: the checkpoint says the epoch");
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
      "--data needs --distill FILE, the teacher's checkpoint. The bundled one (a ResNet-18 that knows images of 32 " +
        `pixels) is ${SAMPLE_TEACHER}`,
    );
  }
  const { folder = callersFolder(), now = new Date() } = context;
  const defaults = given.data === undefined ? SAMPLE_DEFAULTS : PAPER_DEFAULTS;
  const late: string[] = []; // they stand behind what is wrong with the method's own flags
  const { choices, rest: own } = takeRunFlags(given, late);
  const {
    recipe,
    profile = false,
    traceActors = false,
    distill,
    data,
    testData,
    output,
    resume,
    studentInit,
    saveEvery,
    limitSteps,
    plugin,
    ...rest
  } = own;
  const { resumesIfThere, resume: checkpoint } = readResumeFlag({ resume, output }, folder);
  const dataFolder = data === undefined ? SAMPLE_DATA : resolvePath(data, folder);
  const options: DistillRequest = {
    teacherArch: null,
    teacherSsl: null,
    ...defaults,
    imageSize: undefined,
    evalResize: undefined,
    ...recipe && RECIPES[recipe],
    ...rest,
    distill: distill === undefined ? SAMPLE_TEACHER : resolvePath(distill, folder),
    data: dataFolder,
    testData: testData === undefined ? null : resolvePath(testData, folder),
    output: resolvePath(output ?? join("output", runName("distill", now)), folder),
    resume: checkpoint,
    studentInit: studentInit === undefined ? null : resolvePath(studentInit, folder),
    saveEvery: saveEvery === undefined ? null : parseSaveEvery(saveEvery),
    limitSteps: limitSteps ?? null,
    tuning: null,
    ...pluginOption(plugin, folder),
  };
  warnings.push(...checkTogether(options, given), ...late);
  return { help: undefined, options, recipe, resumesIfThere, profile, traceActors, ...choices, warnings };
}

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

function parseSaveEvery(text: string): SaveInterval {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([smh]?)$/.exec(text) ?? [];
  const value = Number(number);
  if (value > 0 && unit !== "") return { seconds: value * SECONDS[unit] };
  if (value > 0 && Number.isSafeInteger(value)) return { steps: value };
  throw new UsageError(
    `--save-every: expected steps, such as 500, or a time, such as 90s, 30m or 2h, found "${text}"`,
  );
}
