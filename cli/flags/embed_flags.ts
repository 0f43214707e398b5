/** The flags of `deno task embed`. */
import { extname } from "node:path";
import { type AskedViews, VIEW_DEFAULT_NOTES } from "../../methods/encoder_views.ts";
import { EMBED_DEFAULTS, type EmbeddingOptions } from "../../methods/embedding.ts";
import type { Split } from "../../data/open_dataset.ts";
import { DEFAULT_WORKERS_NOTE } from "../../actors/default_workers.ts";
import { DEFAULT_MAX_PIXELS } from "../../data/decode.ts";
import { SAMPLE_DATA } from "../../data/sample.ts";
import type { EncoderRole, FeatureKind, Stem } from "../../models/encoder.ts";
import { EMBEDDING_FORMATS, type EmbeddingFormat } from "../output/embedding_writer.ts";
import type { FlagTable } from "../../methods/flag_table.ts";
import {
  encoderFlags,
  type EncoderNames,
  evalResizeFlag,
  fastDecodeFlag,
  FEATURE_DEFAULT_NOTE,
  frozenAmpFlag,
  GENERAL,
  HEADS_DEFAULT_NOTE,
  imageSizeFlag,
  maxPixelsFlag,
  partFlag,
  splitFlag,
  STEM_DEFAULT_NOTE,
  WEIGHTS_DEFAULT_NOTE,
  workersFlag,
} from "../../methods/shared_flags.ts";
import type { EncoderFlagsContext } from "./encoder_flags.ts";
import { helpExtent, helpFlag, parseFlags, UsageError } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";
import { pluginOption } from "./plugin.ts";

const ENCODER = "Encoder";
const FILES = "Images and files";
const NEIGHBOURS = "Neighbours";

const DEFAULTS = {
  ...EMBED_DEFAULTS,
  queries: 10,
  k: 10,
  seed: 0,
};

function makeTable(context: EncoderNames) {
  return {
    ...encoderFlags(context, ENCODER, "encoder, if it cannot be recognised from the checkpoint"),
    part: partFlag(ENCODER),
    amp: frozenAmpFlag(ENCODER),

    output: {
      kind: "text",
      metavar: "FILE",
      short: "o",
      group: FILES,
      help:
        "output file: .npy (float32 [images, dimension]; the names of features.npy go to features.names.csv), .csv or .jsonl",
      brief: "output file: .npy, .csv or .jsonl",
    },
    split: splitFlag(FILES),
    force: { kind: "boolean", group: FILES, help: "replace existing files", brief: "replace existing files" },

    neighbours: {
      kind: "text",
      metavar: "FILE.png",
      aliases: ["neighbors"],
      group: NEIGHBOURS,
      help: "write a contact sheet of some images, each with its nearest neighbours",
      brief: "write a contact sheet of nearest neighbours",
    },
    queries: {
      kind: "integer",
      min: 1,
      max: 1000,
      group: NEIGHBOURS,
      help: "number of images on the sheet, chosen at random",
    },
    knnK: { kind: "integer", min: 1, max: 100, short: "k", group: NEIGHBOURS, help: "neighbours per image" },
    seed: { kind: "integer", min: 0, group: NEIGHBOURS, help: "random seed for the choice of images" },

    imageSize: imageSizeFlag(GENERAL),
    maxPixels: maxPixelsFlag(GENERAL),
    fastDecode: fastDecodeFlag(GENERAL),
    evalResize: evalResizeFlag(GENERAL),
    batchSize: {
      kind: "integer",
      min: 1,
      short: "b",
      group: GENERAL,
      help: "images per batch",
    },
    workers: workersFlag(GENERAL, 64, "number of Workers that decode images"),
    quiet: { kind: "boolean", short: "q", group: GENERAL, help: "do not show progress" },
    help: helpFlag(GENERAL),
  } as const satisfies FlagTable;
}

/** An embedding, but for what its files tell. */
export interface EmbedRequest extends
  AskedViews,
  Pick<
    EmbeddingOptions,
    | "part"
    | "data"
    | "batchSize"
    | "maxPixels"
    | "fastDecode"
    | "amp"
    | "workers"
    | "neighbours"
    | "plugins"
  > {
  pretrained: string;
  /** `null` where the checkpoint tells. */
  arch: string | null;
  /** First layers of the encoder; `undefined` where the checkpoint tells. */
  stem: Stem | undefined;
  which: EncoderRole;
  /** `undefined` where the checkpoint tells. */
  weights: string | undefined;
  /** Likewise. */
  heads: number | undefined;
  /** Likewise. */
  feature: FeatureKind | undefined;
  split: Split;
}

/** What the command line asks for. */
export type EmbedCommand = { help: string } | {
  help: undefined;
  request: EmbedRequest;
  /** File for the embeddings, and its kind; `null` for none. */
  file: { path: string; format: EmbeddingFormat } | null;
  /** File for the contact sheet; `null` for none. */
  sheet: string | null;
  force: boolean;
  quiet: boolean;
};

/** The text of `deno task embed --help`. */
export function embedHelp(context: EncoderFlagsContext): string {
  const { batchSize, queries, k, seed } = DEFAULTS;
  return formatHelp({
    usage: "deno task embed --pretrained FILE [flags] [DATA]     (or ./seed embed ...)",
    intro: [
      "Embeds images with an encoder and writes one row per image, with its name and label. Images are resized and " +
      "center-cropped, as in an evaluation; broken ones are reported and left out.",
      "DATA is a TSV file, a folder of images, a CIFAR file, or a folder of these as deno task distill takes it. " +
      "Without DATA, the bundled images are used.",
    ],
    table: makeTable(context),
    defaults: {
      arch: "default: recognised from the checkpoint",
      stem: STEM_DEFAULT_NOTE,
      which: "default: student",
      weights: WEIGHTS_DEFAULT_NOTE,
      heads: HEADS_DEFAULT_NOTE,
      feature: FEATURE_DEFAULT_NOTE,
      part: "default: backbone",
      split: "default: train",
      queries: `default: ${queries}`,
      knnK: `default: ${k}`,
      seed: `default: ${seed}`,
      ...VIEW_DEFAULT_NOTES,
      maxPixels: `default: ${DEFAULT_MAX_PIXELS}`,
      batchSize: `default: ${batchSize}`,
      workers: DEFAULT_WORKERS_NOTE,
    },
    width: context.width,
    extent: context.extent,
  });
}

/**
 * Reads the command line of `deno task embed`. Looks at no file.
 *
 * @throws {UsageError} for a flag that is unknown or wrong, and for flags that do not go together
 */
export function parseEmbedFlags(args: readonly string[], context: EncoderFlagsContext): EmbedCommand {
  const extent = helpExtent(args);
  if (extent !== undefined) return { help: embedHelp({ ...context, extent }) };
  const { values, positionals: [data] } = parseFlags(makeTable(context), args, { positionals: 1 });
  const { folder = callersFolder() } = context;
  const { pretrained, output, neighbours } = values;
  if (pretrained === undefined) {
    throw new UsageError("missing --pretrained FILE, the encoder checkpoint");
  }
  if (output === undefined && neighbours === undefined) {
    throw new UsageError(
      "nothing to write: give --output FILE for the embeddings, or --neighbours FILE.png for a contact sheet",
    );
  }
  const format = EMBEDDING_FORMATS.find((format) => output !== undefined && extname(output) === format);
  if (output !== undefined && format === undefined) {
    throw new UsageError(
      `--output: expected a name that ends in ${EMBEDDING_FORMATS.join(", ")}, found "${output}"`,
    );
  }
  if (neighbours !== undefined && extname(neighbours) !== ".png") {
    throw new UsageError(`--neighbours: expected a name that ends in .png, found "${neighbours}"`);
  }
  for (const name of ["queries", "knnK", "seed"] as const) {
    if (neighbours === undefined && values[name] !== undefined) {
      throw new UsageError(
        `--${name === "knnK" ? "knn-k" : name} has no effect without --neighbours FILE.png: add it`,
      );
    }
  }
  return {
    help: undefined,
    request: {
      pretrained: resolvePath(pretrained, folder),
      arch: values.arch ?? null,
      stem: values.stem,
      which: values.which ?? "student",
      weights: values.weights,
      heads: values.heads,
      feature: values.feature,
      part: values.part ?? DEFAULTS.part,
      amp: values.amp ?? false,
      data: data === undefined ? SAMPLE_DATA : resolvePath(data, folder),
      split: values.split ?? "train",
      batchSize: values.batchSize ?? DEFAULTS.batchSize,
      imageSize: values.imageSize,
      maxPixels: values.maxPixels ?? DEFAULT_MAX_PIXELS,
      fastDecode: values.fastDecode ?? false,
      evalResize: values.evalResize,
      workers: values.workers ?? DEFAULTS.workers,
      ...pluginOption(values.plugin, folder),
      neighbours: neighbours === undefined ? null : {
        queries: values.queries ?? DEFAULTS.queries,
        k: values.knnK ?? DEFAULTS.k,
        seed: values.seed ?? DEFAULTS.seed,
      },
    },
    file: output === undefined ? null : { path: resolvePath(output, folder), format: format! },
    sheet: neighbours === undefined ? null : resolvePath(neighbours, folder),
    force: values.force ?? false,
    quiet: values.quiet ?? false,
  };
}
