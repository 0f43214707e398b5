/**
 * The flags of `deno task distill`: the original's, under its names. A run without `--data` uses the bundled images
 * and its defaults suit them; with `--data` the defaults are the paper's.
 */

import { join } from "node:path";
import { type Defaults, PAPER_DEFAULTS, RECIPES, SAMPLE_DEFAULTS } from "../../methods/seed/defaults.ts";
import type { DistillOptions, SaveInterval, TeacherSsl } from "../../methods/seed/options.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../data/sample.ts";
import {
  evalResizeFlag,
  type FlagsContext,
  type FlagTable,
  type FlagValues,
  maxPixelsFlag,
  outputFlags,
  pageFlags,
  parseFlags,
  PRINT_FREQ,
  readPageFlags,
  readResumeFlag,
  resumeAnywayFlag,
  type RetiredFlag,
  tuneFlag,
  UsageError,
} from "./flags.ts";
import { augmentationNames } from "../../kernels/image/view_recipes.ts";
import { lossNames } from "../../models/loss/losses.ts";
import type { PageOptions } from "../../ui/server.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";
import { pluginFlag, pluginOption } from "./plugin.ts";
import { runName } from "./run_name.ts";

/** Defaults of the original that would not work as they are, or that its own help contradicts. */
const ORIGINAL_DEFAULTS: Readonly<Partial<Record<keyof Defaults, string>>> = {
  studentArch: "mobilenetv3_large",
  workers: "32",
  batchSize: "4",
  distillT: "1e-4",
  seed: "none",
};

const MODELS = "Models";
const DATA = "Images and files";
const TRAINING = "Training";
const LOSS = "SEED's loss";
const EVALUATION = "Evaluation";
const GENERAL = "Other";

function makeTable({ encoders, teachers = encoders, encoderTable }: DistillFlagsContext) {
  const valuesShown = encoderTable === undefined ? undefined : "see the list at the end";
  return {
    recipe: {
      kind: "choice",
      values: Object.keys(RECIPES),
      group: MODELS,
      help: "settings of the paper by name, printed before the run; other flags override them",
    },
    studentArch: {
      kind: "choice",
      values: encoders,
      valuesShown,
      short: "a",
      group: MODELS,
      help: "encoder of the student",
    },
    teacherArch: {
      kind: "choice",
      values: teachers,
      valuesShown,
      short: "k",
      group: MODELS,
      help: "encoder of the teacher, by its own name or by the original's beside --teacher-ssl (resnet50w2)",
    },
    teacherSsl: {
      kind: "choice",
      values: ["moco", "simclr", "swav"],
      short: "s",
      group: MODELS,
      help: "how the teacher was trained",
    },
    distill: {
      kind: "text",
      metavar: "FILE",
      group: MODELS,
      help: "the teacher's checkpoint, a PyTorch file; required with --data",
    },
    plugin: pluginFlag(MODELS),
    dim: { kind: "integer", min: 1, group: MODELS, help: "numbers in an embedding" },
    studentMlp: {
      kind: "boolean",
      group: MODELS,
      help: "give the student a head of two layers, as MoCo-v2 does; one layer otherwise",
    },

    data: {
      kind: "text",
      metavar: "FOLDER",
      group: DATA,
      help:
        "folder of train.tsv, train/ or CIFAR's binary files (and test.tsv or val/ for the kNN), or a folder of images",
    },
    testData: {
      kind: "text",
      metavar: "DATA",
      group: DATA,
      help: "TSV file, folder or CIFAR file to evaluate the kNN on",
    },
    output: {
      kind: "text",
      metavar: "FOLDER",
      group: DATA,
      help:
        "where config.json, log.txt, metrics.jsonl and the checkpoints go; it must not hold another run, " +
        "unless --resume goes on with that",
    },
    resume: {
      kind: "text",
      metavar: "FILE",
      group: DATA,
      help:
        "checkpoint of a student to go on from, which says where; auto: the newest one in --output, or anew where " +
        "there is none",
    },
    resumeAnyway: resumeAnywayFlag(DATA),
    studentInit: {
      kind: "text",
      metavar: "FILE",
      group: MODELS,
      help:
        "checkpoint that the student starts from: of any program that --distill takes, or deno task export's; a " +
        "head that does not fit is made anew",
    },
    saveEvery: {
      kind: "text",
      metavar: "N|TIME",
      group: DATA,
      help:
        "write a checkpoint every so many steps (500), or after so much time (90s, 30m, 2h), besides the end of " +
        "each epoch",
    },
    keep: { kind: "integer", min: 0, group: DATA, help: "newest checkpoints to keep; 0 keeps all" },
    augmentation: {
      kind: "choice",
      values: augmentationNames(),
      group: DATA,
      help: "rule by which views are drawn",
    },
    imageSize: {
      kind: "integer",
      min: 8,
      max: 1024,
      group: DATA,
      help: "height and width of a view, in pixels",
    },
    maxPixels: maxPixelsFlag(DATA),
    evalResize: evalResizeFlag(DATA),
    workers: {
      kind: "integer",
      min: 1,
      max: 256,
      short: "j",
      group: DATA,
      help: "Workers that read and decode images",
    },

    epochs: { kind: "integer", min: 1, group: TRAINING, help: "epochs in all" },
    startEpoch: { kind: "integer", min: 0, group: TRAINING, help: "epoch to start with, from 0" },
    batchSize: { kind: "integer", min: 1, short: "b", group: TRAINING, help: "images in a batch" },
    lr: {
      kind: "number",
      min: 0,
      aliases: ["learning-rate"],
      group: TRAINING,
      help: "learning rate, for a batch of 256 images where --scale-lr is on",
    },
    scaleLr: {
      kind: "boolean",
      group: TRAINING,
      help: "multiply the learning rate by batch-size / 256 after the warm-up",
    },
    warmupEpochs: {
      kind: "integer",
      min: 0,
      group: TRAINING,
      help: "epochs over which the learning rate goes from --lr to the scaled one",
    },
    cos: { kind: "boolean", group: TRAINING, help: "lower the learning rate along half a cosine" },
    schedule: {
      kind: "integers",
      min: 0,
      group: TRAINING,
      help: "with --no-cos: epochs at which the learning rate becomes ten times lower",
    },
    momentum: { kind: "number", min: 0, max: 1, group: TRAINING, help: "momentum of SGD" },
    weightDecay: { kind: "number", min: 0, aliases: ["wd"], group: TRAINING, help: "weight decay of SGD" },
    accumulate: {
      kind: "integer",
      min: 1,
      group: TRAINING,
      help:
        "batches whose gradients make one step, as one batch of all their images would (but for batch norm, which sees " +
        "each by itself): for batches that do not fit; fewer at the end of an epoch. --scale-lr counts all of them",
    },
    clipGrad: {
      kind: "number",
      above: 0,
      group: TRAINING,
      help: "L2 norm that the gradients of all weights together are clipped to",
    },
    checkpointActivations: {
      kind: "boolean",
      group: TRAINING,
      help:
        "compute the student's activations again for the backward pass instead of keeping them: bigger batches and " +
        "images fit, and a step takes up to a third longer; the weights are the same bits",
    },
    amp: {
      kind: "boolean",
      group: TRAINING,
      help:
        "mixed precision: activations in float16, sums, weights and the loss in float32, the loss scaled by the rule of " +
        "torch.amp.GradScaler; half the memory for activations, on an adapter that has shader-f16",
    },
    limitSteps: {
      kind: "integer",
      min: 1,
      group: TRAINING,
      help: "end after so many steps, for a quick trial",
    },
    seed: {
      kind: "integer",
      min: 0,
      group: TRAINING,
      help: "seed of the student's weights, the order of the images and their augmentation",
    },

    loss: { kind: "choice", values: lossNames(), group: LOSS, help: "what is trained on" },
    queue: {
      kind: "integer",
      min: 1,
      group: LOSS,
      help: "teacher embeddings in the queue; a multiple of the batch size",
    },
    temp: { kind: "number", above: 0, group: LOSS, help: "softmax temperature of the student" },
    distillT: { kind: "number", above: 0, group: LOSS, help: "softmax temperature of the teacher" },

    smallViews: {
      kind: "integer",
      min: 0,
      max: 64,
      group: LOSS,
      help:
        "small views of each image, with a queue and a loss of their own, as in the original's main_small-patch.py, " +
        "which has 6; all views are then SWAV's",
    },
    smallSize: {
      kind: "integer",
      min: 8,
      max: 4096,
      group: LOSS,
      help: "height and width of a small view, in pixels",
    },
    knnK: { kind: "integer", min: 1, group: EVALUATION, help: "neighbours that vote" },
    knnT: { kind: "number", above: 0, group: EVALUATION, help: "temperature of their votes" },
    knnEvery: {
      kind: "integer",
      min: 0,
      aliases: ["eval-freq"],
      group: EVALUATION,
      help:
        "epochs between two evaluations, next to training; 0 evaluates before the first epoch and after the last",
    },

    onNan: {
      kind: "choice",
      values: ["stop", "skip"],
      group: TRAINING,
      help: "what becomes of a step whose loss or gradients are not finite",
    },
    maxRestarts: {
      kind: "integer",
      min: 0,
      group: GENERAL,
      help: "crashes within ten minutes after which actors are started again; the next one ends the run",
    },
    printFreq: {
      kind: "integer",
      min: 1,
      short: "p",
      group: GENERAL,
      help: "steps between two lines in log.txt, and on the screen where it is no terminal",
    },
    tensorboard: {
      kind: "boolean",
      group: DATA,
      help:
        "write an event file for TensorBoard: losses, learning rate, kNN, throughput, and views of a batch",
    },
    tune: tuneFlag(GENERAL),
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
    ...pageFlags(GENERAL),
    insight: {
      kind: "boolean",
      group: GENERAL,
      help:
        "look into the run for the page and the report: views and similarities now and then, neighbours after every " +
        "epoch",
    },
    ...outputFlags(GENERAL),
    help: { kind: "boolean", short: "h", group: GENERAL, help: "show this text" },
  } as const satisfies FlagTable;
}

type Given = FlagValues<ReturnType<typeof makeTable>>;

const ONE_MACHINE = "one machine and one GPU do the training";

// Flags of the original and of MoCo that concern processes and devices which do not exist here.
const RETIRED: Readonly<Record<string, RetiredFlag>> = {
  "local-rank": { takesValue: true, reason: ONE_MACHINE },
  "distributed": { takesValue: true, reason: ONE_MACHINE },
  "world-size": { takesValue: true, reason: ONE_MACHINE },
  "rank": { takesValue: true, reason: ONE_MACHINE },
  "dist-url": { takesValue: true, reason: ONE_MACHINE },
  "dist-backend": { takesValue: true, reason: ONE_MACHINE },
  "multiprocessing-distributed": { takesValue: false, reason: ONE_MACHINE },
  "gpu": { takesValue: true, reason: "WebGPU's first adapter is used" },
  "info": { takesValue: true, reason: "the original does not read it either" },
};

/** What the program depends on besides the arguments. */
export interface DistillFlagsContext extends FlagsContext {
  /** Names of the encoders that may be students. */
  encoders: readonly string[];
  /** Names that a teacher's encoder may be given by; those of the students by default. */
  teachers?: readonly string[];
  /** Makes the list of encoders that the help ends with; the flags themselves name them without it. */
  encoderTable?: () => string;
  /** Names the default output folder; the present by default. */
  now?: Date;
}

/** The options of a run, but that the teacher's encoder may have to be told from its checkpoint: `null`. */
export interface DistillRequest extends Omit<DistillOptions, "teacherArch" | "teacherSsl"> {
  teacherArch: string | null;
  teacherSsl: TeacherSsl | null;
}

/** What the command line asks for. */
export type DistillCommand =
  | { help: string }
  | {
    help: undefined;
    options: DistillRequest;
    /** Name of the recipe that the options are made from. */
    recipe: string | undefined;
    /** Go on with the newest checkpoint of the output folder, if there is one. */
    resumesIfThere: boolean;
    /** Write an event file for TensorBoard. */
    tensorboard: boolean;
    /** Use kernels that are fast on this very adapter, which is measured where that was not done before. */
    tune: boolean;
    /** Find out where the time goes. */
    profile: boolean;
    /** Write down every message. */
    traceActors: boolean;
    /** Show no progress. */
    quiet: boolean;
    /** Steps between two lines of progress. */
    printFreq: number;
    /** Show everything as JSON. */
    json: boolean;
    /** Serve the live page. */
    page: PageOptions | undefined;
    /** Sentences to show before the run. */
    warnings: string[];
  };

function show(value: string | number | boolean | readonly number[] | null): string {
  return value === null ? "none" : typeof value === "boolean" ? (value ? "on" : "off") : String(value);
}

function describeDefault(property: keyof Defaults): string {
  const paper = show(PAPER_DEFAULTS[property]);
  const sample = show(SAMPLE_DEFAULTS[property]);
  const original = ORIGINAL_DEFAULTS[property];
  return `default: ${paper}` + (sample === paper ? "" : `; bundled sample: ${sample}`) +
    (original === undefined ? "" : `; the original: ${original}`);
}

/** The text of `deno task distill --help`. */
export function distillHelp(context: DistillFlagsContext): string {
  const properties = Object.keys(PAPER_DEFAULTS) as (keyof Defaults)[];
  return formatHelp({
    usage: "deno task distill [flags]     (or ./seed distill [flags])",
    intro: [
      "Distils a self-supervised teacher into a student without labels (SEED, ICLR 2021).",
      `Without flags the bundled teacher teaches a ${SAMPLE_DEFAULTS.studentArch} on the bundled images, for a few minutes. With --data ` +
      "and --distill it is your images and your teacher, and the defaults are the paper's; where the original's " +
      "code has another default, that is named too.",
    ],
    table: makeTable(context),
    defaults: {
      ...Object.fromEntries(properties.map((property) => [property, describeDefault(property)])),
      teacherArch: "default: recognised from the checkpoint",
      teacherSsl: "default: recognised from the checkpoint; the original: simclr",
      distill: "default: the bundled teacher",
      data: "default: the bundled images",
      testData: "default: test.tsv, val/ or the like in the folder of --data, where it is there",
      output: "default: a new folder under output/",
      recipe: "default: none",
      plugin: "default: none",
      augmentation: "default: the teacher's, as the original chooses it; swav with --small-views",
      loss: "default: seed",
      studentInit: "default: fresh weights",
      tensorboard: "default: on",
      printFreq: `default: ${PRINT_FREQ}; the original: 1000`,
      profile: "default: off",
      traceActors: "default: off",
      tune: "default: on",
      saveEvery: "default: the end of each epoch",
    },
    notes: [
      "Hyphens and underscores are the same in names (--teacher_arch, --teacher-arch). The original's flags for " +
      "several processes (--local_rank, --distributed, --dist-url and the like) are taken and not needed. Paths start " +
      "from the folder you are in.",
    ],
    listing: context.encoderTable?.(),
    width: context.width,
  });
}

function checkTogether(options: DistillRequest, given: Given): string[] {
  const { queue, batchSize, startEpoch, epochs } = options;
  if (queue % batchSize !== 0) {
    const below = Math.floor(queue / batchSize) * batchSize;
    const near = below === 0 ? String(batchSize) : `${below} or ${below + batchSize}`;
    throw new UsageError(
      `--queue ${queue} is not a multiple of --batch-size ${batchSize}: use --queue ${near}, or another batch size`,
    );
  }
  if (startEpoch >= epochs) {
    throw new UsageError(
      `--start-epoch ${startEpoch} leaves nothing to do: it must be below --epochs ${epochs} (epochs count from 0)`,
    );
  }
  const warnings: string[] = [];
  if (given.schedule !== undefined && options.cos) {
    warnings.push(
      "--schedule has no effect with the cosine schedule: add --no-cos to lower the rate in steps",
    );
  }
  if (given.resume !== undefined && given.studentInit !== undefined && given.resume !== "auto") {
    warnings.push("--student-init has no effect with --resume: the checkpoint has the student");
  }
  if (given.resumeAnyway && given.resume === undefined) {
    warnings.push("--resume-anyway has no effect without --resume");
  }
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
  const table = makeTable(context);
  // A wrong flag beside --help is no reason to withhold the help.
  if (args.some((arg) => arg === "--help" || arg === "-h")) return { help: distillHelp(context) };
  const { values: given, warnings } = parseFlags(table, args, { retired: RETIRED });
  if (given.data !== undefined && given.distill === undefined) {
    throw new UsageError(
      "--data needs --distill FILE, the teacher's checkpoint. The bundled one (a ResNet-18 that knows images of 32 " +
        `pixels) is ${SAMPLE_TEACHER}`,
    );
  }
  const { folder = callersFolder(), now = new Date() } = context;
  const defaults = given.data === undefined ? SAMPLE_DEFAULTS : PAPER_DEFAULTS;
  const {
    quiet = false,
    printFreq = PRINT_FREQ,
    recipe,
    tensorboard = true,
    profile = false,
    traceActors = false,
    json = false,
    ui,
    uiHost,
    tune = true,
    help: _,
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
  } = given;
  const { resumesIfThere, resume: checkpoint } = readResumeFlag({ resume, output }, folder);
  const dataFolder = data === undefined ? SAMPLE_DATA : resolvePath(data, folder);
  const options: DistillRequest = {
    teacherArch: null,
    teacherSsl: null,
    ...defaults,
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
  warnings.push(...checkTogether(options, given));
  const page = readPageFlags({ ui, uiHost }, warnings);
  const shown = { tensorboard, profile, traceActors, quiet, printFreq, json, page, warnings };
  return { help: undefined, options, recipe, resumesIfThere, tune, ...shown };
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
