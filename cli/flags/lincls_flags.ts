/** The command line of `deno task lincls`. */
import { join } from "node:path";
import { SAMPLE_DATA } from "../../data/sample.ts";
import type { FlagTable, FlagValues } from "../../methods/flag_table.ts";
import { LINEAR_DEFAULT_NOTES, LINEAR_RETIRED, linearFlags } from "../../methods/linear_probe/flags.ts";
import {
  LINEAR_DEFAULTS,
  LINEAR_SAMPLE_DEFAULTS,
  type LinearOptions,
} from "../../methods/linear_probe/options.ts";
import type { Stem } from "../../models/encoder.ts";
import type { AskedViews } from "../../methods/encoder_views.ts";
import type { EncoderNames } from "../../methods/shared_flags.ts";
import { type EncoderFlagsContext, requireCheckpointOf, requireEncoder } from "./encoder_flags.ts";
import { helpExtent, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolveCache, resolvePath } from "./paths.ts";
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

function makeTable(names: EncoderNames) {
  return {
    ...linearFlags(names),
    ...runFlags("write a TensorBoard event file"),
    ...SHOW_FLAGS,
  } as const satisfies FlagTable;
}

type Given = FlagValues<ReturnType<typeof makeTable>>;

/** What the program depends on besides the arguments. */
export interface LinclsFlagsContext extends EncoderFlagsContext {
  /** Names the default output folder; the present by default. */
  now?: Date;
}

/** The options of a run, but for what its files tell. */
export interface LinclsRequest
  extends AskedViews, Omit<LinearOptions, "arch" | "data" | "testData" | "lr" | keyof AskedViews> {
  /** `null` for those of the checkpoint that is evaluated. */
  lr: LinearOptions["lr"] | null;
  /** `null` where the checkpoint tells. */
  arch: string | null;
  /** First layers of the encoder; left out where the checkpoint tells. */
  stem?: Stem;
  /** Folder of the images. */
  data: string;
  /** `null` for that of the folder. */
  testData: string | null;
}

/** What the command line asks for. */
export type LinclsCommand =
  | { help: string }
  | RunChoices & {
    help: undefined;
    options: LinclsRequest;
    /** `--resume auto`: go on from the newest checkpoint in the output folder, where there is one. */
    resumesIfThere: boolean;
    /** Sentences to show before the run. */
    warnings: string[];
  };

/** The text of `deno task lincls --help`. */
export function linclsHelp(context: LinclsFlagsContext): string {
  return formatHelp({
    usage: "deno task lincls [flags] [DATA]     (or ./seed lincls [flags] [DATA])",
    intro: [
      "Trains a linear classifier on the features of a frozen encoder and reports its accuracy on the test images: " +
      "linear evaluation with MoCo's protocol, as in the original.",
      "DATA is a folder with train.tsv and test.tsv, with train/ and val/ (one folder of images per class), or with " +
      "the CIFAR binary files. Without DATA, the bundled images are used.",
    ],
    table: makeTable(context),
    defaults: { ...LINEAR_DEFAULT_NOTES, ...RUN_DEFAULT_NOTES },
    notes: [
      "The output directory gets the newest lincls_checkpoint_NNNN.pth.tar and model_best.pth.tar, with the original's " +
      "keys. Separate several values of --lr or --schedule with commas or spaces. After spaces, another flag must " +
      "come before DATA: lincls --lr 1 3 10 --epochs 50 DATA.",
    ],
    width: context.width,
    extent: context.extent,
  });
}

function checkTogether({ pretrained, arch, which, evaluate }: Given, checkpoint: string | null): void {
  if (checkpoint === null) requireEncoder({ pretrained, arch }, "--pretrained FILE, or --resume FILE,");
  if (evaluate && checkpoint === null) {
    throw new UsageError("--evaluate needs a trained classifier: add --resume FILE");
  }
  requireCheckpointOf(which, pretrained);
}

/**
 * Reads the command line of `deno task lincls`. Looks at no file: see `checkLinclsInputs` for that.
 *
 * @throws {UsageError} for a flag that is unknown or wrong, and for flags that do not go together
 */
export function parseLinclsFlags(args: readonly string[], context: LinclsFlagsContext): LinclsCommand {
  const extent = helpExtent(args);
  if (extent !== undefined) return { help: linclsHelp({ ...context, extent }) };
  const { values: given, positionals: [data], warnings } = parseFlags(makeTable(context), args, {
    retired: LINEAR_RETIRED,
    positionals: 1,
  });
  const { folder = callersFolder(), now = new Date() } = context;
  const late: string[] = [];
  const { choices, rest: own } = takeRunFlags(given, late);
  const { arch, pretrained, which, testData, output, resume, evaluate, classes, lr, plugin, cache, ...rest } =
    own;
  const { resumesIfThere, resume: checkpoint } = readResumeFlag({ resume, output }, folder);
  checkTogether(given, checkpoint);
  const path = (text: string | undefined) => text === undefined ? null : resolvePath(text, folder);
  const defaults = data === undefined ? LINEAR_SAMPLE_DEFAULTS : LINEAR_DEFAULTS;
  const options: LinclsRequest = {
    ...defaults,
    imageSize: undefined,
    evalResize: undefined,
    ...rest,
    pretrained: path(pretrained),
    arch: arch ?? null,
    which: which ?? "student",
    data: data === undefined ? SAMPLE_DATA : resolvePath(data, folder),
    testData: path(testData),
    output: resolvePath(output ?? join("output", runName("lincls", now)), folder),
    resume: checkpoint,
    lr: lr ?? (evaluate ? null : defaults.lr),
    evaluate: evaluate ?? false,
    classes: classes ?? null,
    cache: resolveCache(cache ?? defaults.cache, folder),
    ...pluginOption(plugin, folder),
  };
  requireEpochs(options);
  if (options.lr !== null && new Set(options.lr).size < options.lr.length) {
    throw new UsageError(`--lr ${options.lr.join(",")} contains a learning rate twice; give each once`);
  }
  warnOfResumeAnyway(given, warnings);
  warnings.push(...late);
  return { help: undefined, options, resumesIfThere, ...choices, warnings };
}
