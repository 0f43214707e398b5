/** The flags of `deno task export`. */
import { extname } from "node:path";
import {
  EXPORT_FORMATS,
  type ExportFormat,
  type ExportNames,
  type ExportOptions,
} from "../../models/export/export_encoder.ts";
import type { FlagTable } from "../../methods/flag_table.ts";
import { isFamilyEncoder } from "../../models/registry.ts";
import { type ByChannel, IMAGE_SIZES, RESIZE_RULES } from "../../models/checkpoint/saved_input.ts";
import {
  FEATURE_DEFAULT_NOTE,
  featureFlag,
  GENERAL,
  HEADS_DEFAULT_NOTE,
  headsFlag,
  imageSizeFlag,
  pluginFlag,
  STEM_DEFAULT_NOTE,
  stemFlag,
  WEIGHTS_DEFAULT_NOTE,
  weightsFlag,
} from "../../methods/shared_flags.ts";
import { USUAL_SIZE_NOTE } from "../../methods/encoder_views.ts";
import { type FlagsContext, helpExtent, helpFlag, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";

const WHAT = "What to export";
const FILE = "File";
const ONNX = "ONNX";

const NAMES: readonly ExportNames[] = ["plain", "moco", "seed"];

/** Formats by what names of files end in. */
const ENDINGS: Readonly<Record<string, ExportFormat>> = {
  ".pth": "pth",
  ".pt": "pth",
  ".tar": "pth",
  ".safetensors": "safetensors",
  ".onnx": "onnx",
};

function makeTable(encoders: readonly string[]) {
  return {
    part: {
      kind: "choice",
      values: ["backbone", "encoder"],
      group: WHAT,
      help: "without the projection head (features), or with it (embeddings)",
      brief: "backbone: features; encoder: embeddings, from the head",
    },
    which: {
      kind: "choice",
      values: ["student", "teacher"],
      group: WHAT,
      help: "which encoder of a checkpoint from deno task distill or the original SEED",
    },
    arch: {
      kind: "choice",
      values: encoders,
      isOther: isFamilyEncoder,
      short: "a",
      group: WHAT,
      help: "encoder in the checkpoint",
    },
    stem: stemFlag(WHAT, "the encoder's first layers"),
    weights: weightsFlag(WHAT),
    heads: headsFlag(WHAT),
    feature: featureFlag(WHAT),
    plugin: pluginFlag(WHAT),

    output: {
      kind: "text",
      metavar: "FILE",
      short: "o",
      group: FILE,
      help: "output file",
      brief: "output file",
    },
    format: {
      kind: "choice",
      values: EXPORT_FORMATS,
      group: FILE,
      help: "file format",
      brief: "pth, safetensors or onnx",
    },
    names: {
      kind: "choice",
      values: NAMES,
      group: FILE,
      help:
        "tensor names in a pth or safetensors file: plain (torchvision's for ResNets, the original's for the others), or " +
        "as MoCo (module.encoder_q.) or SEED (module.student.) saves them, with state_dict, epoch and arch",
    },
    imageSize: {
      ...imageSizeFlag(FILE, IMAGE_SIZES.max),
      help:
        "height and width of the input images, in pixels: fixed in an ONNX model, and recorded in every file",
    },
    evalResize: {
      kind: "choice",
      values: ["torchvision", "none", "torchvision-bicubic", "none-bicubic"],
      group: FILE,
      help:
        "how an evaluation resizes images, recorded in the file as a crop ratio, 0.875 (torchvision) or 1 (none), and a " +
        "filter, bilinear or bicubic",
    },
    mean: {
      kind: "numbers",
      group: FILE,
      help:
        "mean of red, green and blue that images are normalised by, in units of [0, 1], recorded in the file",
    },
    std: {
      kind: "numbers",
      above: 0,
      group: FILE,
      help: "standard deviations likewise",
    },
    force: {
      kind: "boolean",
      group: FILE,
      help: "replace an existing file",
      brief: "replace an existing file",
    },

    normalize: {
      kind: "boolean",
      group: ONNX,
      help: "L2-normalise the embedding; the output is then called normalized",
    },

    quiet: { kind: "boolean", short: "q", group: GENERAL, help: "do not show progress" },
    help: helpFlag(GENERAL),
  } as const satisfies FlagTable;
}

/** What the program depends on besides the arguments. */
export interface ExportFlagsContext extends FlagsContext {
  /** Names of the encoders that exist. */
  encoders: readonly string[];
}

/** What the command line asks for. */
export type ExportCommand =
  | { help: string }
  | {
    help: undefined;
    options: ExportOptions;
    /** Show no progress. */
    quiet: boolean;
  };

/** The text of `deno task export --help`. */
export function exportHelp({ encoders, width, extent }: ExportFlagsContext): string {
  return formatHelp({
    usage: "deno task export [flags] CHECKPOINT     (or ./seed export [flags] CHECKPOINT)",
    intro: [
      "Exports the encoder of a checkpoint (SEED, MoCo, SimCLR, SWAV, DINO, torchvision) as a PyTorch file, a safetensors " +
      "file or an ONNX model.",
      "A backbone with plain names loads with strict=True into torchvision's resnet18() and the like once fc is " +
      "torch.nn.Identity(). An encoder with MoCo's or SEED's names loads into their code, and into this program.",
    ],
    table: makeTable(encoders),
    defaults: {
      part: "default: backbone",
      which: "default: student",
      stem: STEM_DEFAULT_NOTE,
      weights: WEIGHTS_DEFAULT_NOTE,
      heads: HEADS_DEFAULT_NOTE,
      feature: FEATURE_DEFAULT_NOTE,
      arch: "default: recognised",
      output: "default: NAME_ENCODER_PART.FORMAT next to the checkpoint",
      format: "default: the extension of --output, else pth",
      names:
        "default: plain for a backbone, for encoders of SimCLR and SWAV and for those without a head; else moco",
      imageSize: `default: from the checkpoint, else ${USUAL_SIZE_NOTE}`,
      evalResize:
        "default: from the checkpoint, else torchvision, and below 64 pixels no crop ratio, which evaluations take as " +
        "auto; torchvision-bicubic for DINO, DINOv2 and DINOv3; none for stems for CIFAR",
      mean: "default: from the checkpoint, else ImageNet's: 0.485,0.456,0.406",
      std: "default: from the checkpoint, else ImageNet's: 0.229,0.224,0.225",
    },
    notes: [
      "An ONNX model has batch norm folded into its convolutions. Its input is images, float32 [batch, 3, size, size]: " +
      "RGB from 0 to 1, normalised with the mean and std in its metadata. Its outputs are feature and, with " +
      "--part encoder, embedding. Weights above 2 GB go to FILE.data, which must stay next to it.",
    ],
    width,
    extent,
  });
}

function byChannel(flag: string, values: readonly number[] | undefined): ByChannel | undefined {
  if (values === undefined || values.length === 3) return values as ByChannel | undefined;
  throw new UsageError(
    `--${flag} takes three numbers, for red, green and blue, such as 0.5,0.5,0.5; found ${values.length}`,
  );
}

/**
 * Reads the command line of `deno task export`. Looks at no file.
 *
 * @throws {UsageError} for a flag that is unknown or wrong, and for flags that do not go together
 */
export function parseExportFlags(args: readonly string[], context: ExportFlagsContext): ExportCommand {
  const extent = helpExtent(args);
  if (extent !== undefined) return { help: exportHelp({ ...context, extent }) };
  const { values, positionals } = parseFlags(makeTable(context.encoders), args, { positionals: 1 });
  const { folder = callersFolder() } = context;
  const [checkpoint] = positionals;
  if (checkpoint === undefined) {
    throw new UsageError("no checkpoint given: expected deno task export [flags] CHECKPOINT");
  }
  const { output, names, part = "backbone", normalize = false } = values;
  const ending = output === undefined ? undefined : ENDINGS[extname(output).toLowerCase()];
  const format = values.format ?? ending ?? "pth";
  if (ending !== undefined && ending !== format) {
    throw new UsageError(
      `--output ${output} has the extension of a ${ending} file, but --format is ${format}: change one of them`,
    );
  }
  if (format === "onnx" && names !== undefined) {
    throw new UsageError(
      "--names has no effect with --format onnx: an ONNX model has the encoder's own names",
    );
  }
  if (format !== "onnx" && values.normalize !== undefined) {
    throw new UsageError("--normalize is for ONNX models: add --format onnx, or leave it out");
  }
  if (normalize && part === "backbone") {
    throw new UsageError("--normalize is for embeddings, which a backbone does not have: add --part encoder");
  }
  const rule = values.evalResize && RESIZE_RULES[values.evalResize];
  return {
    help: undefined,
    options: {
      checkpoint: resolvePath(checkpoint, folder),
      output: output === undefined ? undefined : resolvePath(output, folder),
      format,
      part,
      arch: values.arch,
      stem: values.stem,
      which: values.which,
      weights: values.weights,
      heads: values.heads,
      feature: values.feature,
      names,
      imageSize: values.imageSize,
      cropRatio: rule?.cropRatio,
      interpolation: rule?.interpolation,
      mean: byChannel("mean", values.mean),
      std: byChannel("std", values.std),
      normalize,
      force: values.force ?? false,
    },
    quiet: values.quiet ?? false,
  };
}
