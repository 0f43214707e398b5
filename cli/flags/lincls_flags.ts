/** The command line of `deno task lincls`. */
import { join } from "node:path";
import { SAMPLE_DATA } from "../../data/sample.ts";
import type { FlagTable, FlagValues } from "../../methods/flag_table.ts";
import {
  FINETUNE_DEFAULT_NOTES,
  FINETUNE_FLAG,
  FINETUNE_ONLY,
  FINETUNING,
  LINEAR_ONLY,
} from "../../methods/finetune/flags.ts";
import {
  FINETUNE_ADAMW,
  FINETUNE_DEFAULTS,
  FINETUNE_SAMPLE_ADAMW,
  FINETUNE_SAMPLE_DEFAULTS,
  type FinetuneOptions,
} from "../../methods/finetune/options.ts";
import { LINEAR_DEFAULT_NOTES, LINEAR_RETIRED, linearFlags } from "../../methods/linear_probe/flags.ts";
import {
  describeRepeatedRate,
  LINEAR_DEFAULTS,
  LINEAR_SAMPLE_DEFAULTS,
  type LinearOptions,
} from "../../methods/linear_probe/options.ts";
import type { FeatureKind, Stem } from "../../models/encoder.ts";
import type { AskedViews } from "../../methods/encoder_views.ts";
import { type EncoderNames, WEIGHT_DECAY_FLAG } from "../../methods/shared_flags.ts";
import { type EncoderFlagsContext, requireCheckpointOf, requireEncoder } from "./encoder_flags.ts";
import type { ResumeFlags } from "../terminal/interrupt.ts";
import { flagName, helpExtent, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolveCache, resolvePath } from "./paths.ts";
import { pluginOption } from "./plugin.ts";
import {
  readResumeFlag,
  requireDataOf,
  requireEpochs,
  RUN_DEFAULT_NOTES,
  type RunChoices,
  runFlags,
  SHOW_FLAGS,
  takeRunFlags,
  TRACE_DEFAULT_NOTES,
  TRACE_FLAGS,
  type TraceChoices,
  warningsOfTraining,
} from "./run_flags.ts";
import { runName } from "./run_name.ts";

/** The flags of a run that a fine-tuning alone has. */
const TRACED = {
  traceActors: { ...TRACE_FLAGS.traceActors, group: FINETUNING },
  profile: { ...TRACE_FLAGS.profile, group: FINETUNING },
} as const satisfies FlagTable;

function makeTable(names: EncoderNames) {
  return {
    ...linearFlags(names),
    weightDecay: WEIGHT_DECAY_FLAG,
    ...FINETUNE_FLAG,
    ...FINETUNE_ONLY,
    ...TRACED,
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
type RequestOf<Options extends LinearOptions | FinetuneOptions> =
  & AskedViews
  & Omit<Options, "arch" | "data" | "testData" | keyof AskedViews>
  & {
    /** `null` where the checkpoint tells. */
    arch: string | null;
    /** First layers of the encoder; left out where the checkpoint tells. */
    stem?: Stem;
    /** Heads of a vision transformer; left out where the checkpoint tells. */
    heads?: number;
    /** Feature of the encoder; left out where the checkpoint tells. */
    feature?: FeatureKind;
    /** Folder of the images. */
    data: string;
    /** `null` for that of the folder. */
    testData: string | null;
  };

/** What a linear evaluation is asked for. */
export type LinclsRequest = Omit<RequestOf<LinearOptions>, "lr"> & {
  /** `null` for those of the checkpoint that is evaluated. */
  lr: LinearOptions["lr"] | null;
};

/** What a fine-tuning is asked for. */
export type FinetuneRequest = RequestOf<FinetuneOptions> & {
  /** What was not left to a default of the settings that follow from the optimizer, which the encoder decides on. */
  asked: Partial<FinetuneOptions>;
  /** Defaults with AdamW. */
  ofAdamW: Partial<FinetuneOptions>;
};

function ofOptimizer(given: Partial<FinetuneOptions>): Partial<FinetuneOptions> {
  const { optimizer, dropPath, lr, lrLastLayer, lrPerStep, warmupEpochs, momentum, weightDecay } = given;
  const rates = { lr, lrLastLayer, lrPerStep, warmupEpochs };
  const asked = Object.entries({ optimizer, dropPath, ...rates, momentum, weightDecay });
  return Object.fromEntries(asked.filter(([, value]) => value !== undefined));
}

/** What both ways have. */
interface Common extends RunChoices {
  help: undefined;
  /** `--resume auto`: go on from the newest checkpoint in the output folder, where there is one. */
  resumesIfThere: boolean;
  resumeFlags: ResumeFlags;
  /** Sentences to show before the run. */
  warnings: string[];
}

/** What the command line asks for. */
export type LinclsCommand =
  | { help: string }
  | Common & { method: "linear_probe"; options: LinclsRequest }
  | Common & TraceChoices & { method: "finetune"; options: FinetuneRequest };

/** Says for `--help` what is the case where a flag is not given, with `--finetune` where that is something else. */
function defaultNotes(): Record<string, string> {
  const notes: Record<string, string> = {
    ...LINEAR_DEFAULT_NOTES,
    ...RUN_DEFAULT_NOTES,
    ...TRACE_DEFAULT_NOTES,
  };
  for (const [name, note] of Object.entries(FINETUNE_DEFAULT_NOTES)) {
    const known = notes[name];
    if (known === undefined) notes[name] = note;
    else if (known.replace(/; the original.*/, "") !== note) {
      const own = note.replace("default: ", "").replace("bundled sample: ", "the sample's ");
      notes[name] = known.replace(/(?=; the original|$)/, `; with --finetune: ${own.replace(";", ",")}`);
    }
  }
  return notes;
}

/** The text of `deno task lincls --help`. */
export function linclsHelp(context: LinclsFlagsContext): string {
  return formatHelp({
    usage: "deno task lincls [flags] [DATA]     (or ./seed lincls [flags] [DATA])",
    intro: [
      "Trains a linear classifier on the features of a frozen encoder and reports its accuracy on the test images: " +
      "linear evaluation with MoCo's protocol, as in the original. With --finetune the encoder is trained too; with " +
      "--label-fraction on a share of the labels: the semi-supervised evaluation of SimCLR's and SwAV's protocol.",
      "DATA is a folder with train.tsv and test.tsv, with train/ and val/ (one folder of images per class), or with " +
      "the CIFAR binary files. Without DATA, the bundled images are used.",
    ],
    table: makeTable(context),
    defaults: defaultNotes(),
    notes: [
      "The output directory gets the newest lincls_checkpoint_NNNN.pth.tar and model_best.pth.tar, with the original's " +
      "keys. Separate several values of --lr or --schedule with commas or spaces. After spaces, another flag must " +
      "come before DATA: lincls --lr 1 3 10 --epochs 50 DATA. With --finetune the checkpoint is called " +
      "finetune_checkpoint_NNNN.pth.tar.",
    ],
    width: context.width,
    extent: context.extent,
  });
}

/**
 * Checks that there is an encoder to evaluate, or a checkpoint that holds one.
 *
 * @throws {UsageError} where there is neither
 */
export function requireAnyEncoder(given: Parameters<typeof requireEncoder>[0]): void {
  requireEncoder(given, "--pretrained FILE, or --resume FILE,");
}

function checkTogether(given: Given, checkpoint: string | null, resumesIfThere: boolean): void {
  const { pretrained, arch, which, evaluate, finetune = false } = given;
  const ofFinetune = { ...FINETUNE_ONLY, ...TRACED };
  const wrong = (finetune ? LINEAR_ONLY : Object.keys(ofFinetune) as (keyof typeof ofFinetune)[])
    .find((name) => given[name] !== undefined);
  if (wrong !== undefined) {
    const flag = `--${flagName(wrong)}`;
    throw new UsageError(
      finetune
        ? `${flag} needs an encoder that stays as it is: leave it or --finetune out`
        : `${flag} is about a fine-tuning: add --finetune, or leave it out`,
    );
  }
  // That of --resume auto is looked for later.
  if (checkpoint === null && !resumesIfThere) requireAnyEncoder({ pretrained, arch });
  if (evaluate && checkpoint === null) {
    throw new UsageError(
      resumesIfThere
        ? "--evaluate does not take --resume auto: name the checkpoint to evaluate, --resume FILE"
        : "--evaluate needs a trained classifier: add --resume FILE",
    );
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
  const {
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
    cache,
    ...others
  } = own;
  const { finetune = false, profile = false, traceActors = false, ...rest } = others;
  const { resumesIfThere, resumeFlags, resume: checkpoint } = readResumeFlag({ resume, output }, folder);
  checkTogether(given, checkpoint, resumesIfThere);
  const path = (text: string | undefined) => text === undefined ? null : resolvePath(text, folder);
  const shared = {
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
    evaluate: evaluate ?? false,
    classes: classes ?? null,
    ...cache !== undefined && { cache: resolveCache(cache, folder) },
    ...pluginOption(plugin, folder),
  } as const;
  const common = { help: undefined, resumesIfThere, resumeFlags, ...choices, warnings } as const;
  const conclude = <Command extends { options: { startEpoch: number; epochs: number; scaleLr: boolean } }>(
    command: Command,
    lrPerStep?: boolean,
  ) => {
    requireEpochs(command.options);
    // Without --optimizer the encoder decides, which is known later: checkFinetuneInputs() warns of what follows from it.
    const { cos = false, optimizer = "sgd" } = given;
    const { scaleLr } = command.options;
    const known = finetune && given.optimizer === undefined ? { ...given, warmupEpochs: undefined } : given;
    warnings.push(...warningsOfTraining(known, { cos, optimizer, scaleLr, lrPerStep }), ...late);
    return { ...common, ...command };
  };
  requireDataOf({ testData, data }, "DATA");
  const isSample = data === undefined;
  if (finetune) {
    const defaults = isSample ? FINETUNE_SAMPLE_DEFAULTS : FINETUNE_DEFAULTS;
    for (const name of ["weights", "heads", "feature"] as const) {
      if (checkpoint === null || resumesIfThere || given[name] === undefined) continue;
      // Those of --pretrained are compared with the checkpoint's beginning.
      if (name === "weights" && pretrained !== undefined) continue;
      warnings.push(`--${name} has no effect with --resume: the checkpoint holds one encoder`);
    }
    if (lr !== undefined && lr.length > 1) {
      throw new UsageError(`--lr ${lr.join(",")}: --finetune trains one encoder; give one learning rate`);
    }
    const asked = ofOptimizer({ ...rest, lr: lr?.[0] });
    const ofAdamW: Partial<FinetuneOptions> = isSample ? FINETUNE_SAMPLE_ADAMW : FINETUNE_ADAMW;
    const { lrPerStep = false } = { ...given.optimizer === "adamw" && ofAdamW, ...asked };
    const options = { ...defaults, ...shared, lr: lr?.[0] ?? defaults.lr, asked, ofAdamW };
    return conclude({ method: "finetune" as const, profile, traceActors, options }, lrPerStep);
  }
  const defaults = isSample ? LINEAR_SAMPLE_DEFAULTS : LINEAR_DEFAULTS;
  const rates = lr ?? (evaluate ? null : defaults.lr);
  const repeated = rates && describeRepeatedRate(rates);
  if (repeated) throw new UsageError(repeated);
  return conclude({ method: "linear_probe" as const, options: { ...defaults, ...shared, lr: rates } });
}
