/** The flags of `deno task lincls`: those of the original's main_lincls.py, under its names. */
import { join } from "node:path";
import {
  LINEAR_DEFAULTS,
  LINEAR_SAMPLE_DEFAULTS,
  type LinearDefaults,
  type LinearOptions,
} from "../../methods/linear_probe/options.ts";
import { SAMPLE_DATA } from "../../data/sample.ts";
import type { EncoderRole } from "../../models/registry.ts";
import { encoderFlags, type EncoderFlagsContext, FRESH_ENCODER } from "./encoder_flags.ts";
import type { PageOptions } from "../../ui/server.ts";
import {
  evalResizeFlag,
  type FlagTable,
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
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";
import { pluginOption } from "./plugin.ts";
import { runName } from "./run_name.ts";

/** Defaults of the original that differ. */
const ORIGINAL_DEFAULTS: Readonly<Partial<Record<keyof LinearDefaults, string>>> = {
  workers: "32",
  seed: "none",
};

const MODEL = "Encoder";
const DATA = "Images and files";
const TRAINING = "Training";
const GENERAL = "Other";

function makeTable(context: EncoderFlagsContext) {
  return {
    ...encoderFlags(context, MODEL, FRESH_ENCODER),

    output: {
      kind: "text",
      metavar: "FOLDER",
      group: DATA,
      help:
        "where config.json, log.txt, metrics.jsonl and the checkpoints go; it must not hold another run, unless " +
        "--resume goes on with that",
    },
    testData: { kind: "text", metavar: "DATA", group: DATA, help: "images to be classified" },
    resume: {
      kind: "text",
      metavar: "FILE",
      group: DATA,
      help:
        "checkpoint of a linear evaluation to go on from; it has the encoder too; auto: the newest one in --output, or " +
        "anew where there is none",
    },
    resumeAnyway: resumeAnywayFlag(DATA),
    evaluate: {
      kind: "boolean",
      short: "e",
      group: DATA,
      help: "only classify the test images, with the classifiers of --resume, or those of some --lr",
    },
    cacheFeatures: {
      kind: "boolean",
      group: DATA,
      help:
        "embed each image once, resized and cut from the middle, and train on these features in every epoch: " +
        "much faster, and a little less accurate than with random crops and flips",
    },
    imageSize: {
      kind: "integer",
      min: 8,
      max: 4096,
      group: DATA,
      help: "height and width of a view, in pixels",
    },
    maxPixels: maxPixelsFlag(DATA),
    evalResize: evalResizeFlag(DATA),
    classes: { kind: "integer", min: 2, group: DATA, help: "classes, whose labels are 0 to N - 1" },
    workers: {
      kind: "integer",
      min: 1,
      max: 64,
      short: "j",
      group: DATA,
      help: "Workers that read and decode images",
    },

    epochs: { kind: "integer", min: 1, group: TRAINING, help: "epochs in all" },
    startEpoch: { kind: "integer", min: 0, group: TRAINING, help: "epoch to start with, from 0" },
    batchSize: { kind: "integer", min: 1, short: "b", group: TRAINING, help: "images in a batch" },
    lr: {
      kind: "numbers",
      above: 0,
      aliases: ["learning-rate"],
      group: TRAINING,
      help:
        "learning rate for a batch of 256 images; of several, a classifier is trained with each, side by side, " +
        "and the best is reported",
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
    schedule: {
      kind: "integers",
      min: 0,
      group: TRAINING,
      help: "epochs at which the learning rate becomes ten times lower",
    },
    momentum: { kind: "number", min: 0, max: 1, group: TRAINING, help: "momentum of SGD" },
    weightDecay: {
      kind: "number",
      min: 0,
      aliases: ["wd"],
      group: TRAINING,
      help: "weight decay of SGD",
    },
    seed: {
      kind: "integer",
      min: 0,
      group: TRAINING,
      help: "seed of the classifier's weights, the order of the images and their crops",
    },

    printFreq: {
      kind: "integer",
      min: 1,
      short: "p",
      group: GENERAL,
      help: "steps between two lines in log.txt, and on the screen where it is no terminal",
    },
    tensorboard: { kind: "boolean", group: DATA, help: "write an event file for TensorBoard" },
    tune: tuneFlag(GENERAL),
    ...pageFlags(GENERAL),
    ...outputFlags(GENERAL),
    help: { kind: "boolean", short: "h", group: GENERAL, help: "show this text" },
  } as const satisfies FlagTable;
}

const ONE_MACHINE = "there is one process, and it uses one device";

const RETIRED: Readonly<Record<string, RetiredFlag>> = {
  "local-rank": { takesValue: true, reason: ONE_MACHINE },
  "world-size": { takesValue: true, reason: ONE_MACHINE },
  "rank": { takesValue: true, reason: ONE_MACHINE },
  "dist-url": { takesValue: true, reason: ONE_MACHINE },
  "dist-backend": { takesValue: true, reason: ONE_MACHINE },
  "multiprocessing-distributed": { takesValue: false, reason: ONE_MACHINE },
  "gpu": { takesValue: true, reason: "WebGPU's first adapter is used" },
};

/** What the program depends on besides the arguments. */
export interface LinclsFlagsContext extends EncoderFlagsContext {
  /** Names the default output folder; the present by default. */
  now?: Date;
}

/** The options of a run, but for what its files tell. */
export interface LinclsRequest extends Omit<LinearOptions, "arch" | "trainData" | "testData" | "lr"> {
  /** `null` for those of the checkpoint that is evaluated. */
  lr: LinearOptions["lr"] | null;
  /** `null` where the checkpoint tells. */
  arch: string | null;
  /** Folder of the images. */
  data: string;
  /** `null` for that of the folder. */
  testData: string | null;
}

/** What the command line asks for. */
export type LinclsCommand =
  | { help: string }
  | {
    help: undefined;
    options: LinclsRequest;
    /** `--resume auto`: go on from the newest checkpoint in the output folder, where there is one. */
    resumesIfThere: boolean;
    /** Write an event file for TensorBoard. */
    tensorboard: boolean;
    /** Use kernels that are fast on this very adapter, which is measured where that was not done before. */
    tune: boolean;
    quiet: boolean;
    /** Steps between two lines of progress. */
    printFreq: number;
    /** Show everything as JSON. */
    json: boolean;
    /** Serve the live page. */
    page: PageOptions | undefined;
    warnings: string[];
  };

function show(value: LinearDefaults[keyof LinearDefaults]): string {
  return typeof value === "boolean" ? (value ? "on" : "off") : String(value);
}

function describeDefault(property: keyof LinearDefaults): string {
  const own = show(LINEAR_DEFAULTS[property]);
  const sample = show(LINEAR_SAMPLE_DEFAULTS[property]);
  const original = ORIGINAL_DEFAULTS[property];
  return `default: ${own}` + (sample === own ? "" : `; bundled sample: ${sample}`) +
    (original === undefined ? "" : `; the original: ${original}`);
}

/** The text of `deno task lincls --help`. */
export function linclsHelp(context: LinclsFlagsContext): string {
  const properties = Object.keys(LINEAR_DEFAULTS) as (keyof LinearDefaults)[];
  return formatHelp({
    usage: "deno task lincls [flags] [DATA]     (or ./seed lincls [flags] [DATA])",
    intro: [
      "Trains a linear classifier on the features of a frozen encoder and says how well it classifies other images: " +
      "the linear evaluation of MoCo's protocol, as the original has it.",
      "DATA is a folder of train.tsv and test.tsv, of the folders train/ and val/ with a folder of images for each " +
      "class, or of the binary files of CIFAR; the bundled images where it is left out.",
    ],
    table: makeTable(context),
    defaults: {
      ...Object.fromEntries(properties.map((property) => [property, describeDefault(property)])),
      arch: "default: recognised from the checkpoint; the original: resnet50",
      which: "default: student",
      tensorboard: "default: on",
      printFreq: `default: ${PRINT_FREQ}`,
      tune: "default: on",
      classes: "default: as many as the labels say",
      testData: "default: test.tsv, val/ or the like in DATA",
      output: "default: a new folder under output/",
    },
    notes: [
      "The output folder gets the newest lincls_checkpoint_NNNN.pth.tar and model_best.pth.tar, with the original's " +
      "keys. Several values of --lr and --schedule are written with commas or blanks between them, and then stand " +
      "before another flag: lincls --lr 1 3 10 --epochs 50 DATA.",
    ],
    listing: context.encoderTable?.(),
    width: context.width,
  });
}

/**
 * Reads the command line of `deno task lincls`. Looks at no file: see `checkLinclsInputs` for that.
 *
 * @throws {UsageError} for a flag that is unknown or wrong, and for flags that do not go together
 */
export function parseLinclsFlags(args: readonly string[], context: LinclsFlagsContext): LinclsCommand {
  if (args.some((arg) => arg === "--help" || arg === "-h")) return { help: linclsHelp(context) };
  const { values, positionals, warnings } = parseFlags(makeTable(context), args, {
    retired: RETIRED,
    positionals: 1,
  });
  const { folder = callersFolder(), now = new Date() } = context;
  const [data] = positionals;
  const {
    quiet = false,
    printFreq = PRINT_FREQ,
    json = false,
    ui,
    uiHost,
    tensorboard = true,
    tune = true,
    help: _,
    arch,
    pretrained,
    which,
    testData,
    output,
    resume,
    evaluate,
    classes,
    lr,
    plugin,
    ...rest
  } = values;
  const { resumesIfThere, resume: checkpoint } = readResumeFlag({ resume, output }, folder);
  if (pretrained === undefined && checkpoint === null && arch === undefined) {
    throw new UsageError(
      "there is nothing to evaluate: give --pretrained FILE, or --resume FILE, or --arch NAME for fresh weights",
    );
  }
  if (evaluate && checkpoint === null) {
    throw new UsageError("--evaluate classifies with a trained classifier: add --resume FILE");
  }
  if (which === "teacher" && pretrained === undefined) {
    throw new UsageError("--which is about the checkpoint of --pretrained: add that, or leave it out");
  }
  const path = (text: string | undefined) => text === undefined ? null : resolvePath(text, folder);
  const defaults = data === undefined ? LINEAR_SAMPLE_DEFAULTS : LINEAR_DEFAULTS;
  const options: LinclsRequest = {
    ...defaults,
    ...rest,
    pretrained: path(pretrained),
    arch: arch ?? null,
    which: (which ?? "student") satisfies EncoderRole,
    data: data === undefined ? SAMPLE_DATA : resolvePath(data, folder),
    testData: path(testData),
    output: resolvePath(output ?? join("output", runName("lincls", now)), folder),
    resume: checkpoint,
    lr: lr ?? (evaluate ? null : defaults.lr),
    evaluate: evaluate ?? false,
    classes: classes ?? null,
    ...pluginOption(plugin, folder),
  };
  if (options.startEpoch >= options.epochs) {
    throw new UsageError(
      `--start-epoch ${options.startEpoch} leaves nothing to do: it must be below --epochs ${options.epochs} (epochs ` +
        "count from 0)",
    );
  }
  if (options.lr !== null && new Set(options.lr).size < options.lr.length) {
    throw new UsageError(`--lr ${options.lr.join(",")} has a learning rate twice; give each once`);
  }
  if (options.resumeAnyway && resume === undefined) {
    warnings.push("--resume-anyway has no effect without --resume");
  }
  const page = readPageFlags({ ui, uiHost }, warnings);
  return {
    help: undefined,
    options,
    resumesIfThere,
    tensorboard,
    tune,
    quiet,
    printFreq,
    json,
    page,
    warnings,
  };
}
