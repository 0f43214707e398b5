/** The flags of `deno task embed`. */
import { extname } from "node:path";
import { type AskedViews, VIEW_DEFAULT_NOTES } from "../../methods/encoder_views.ts";
import { EMBED_DEFAULTS, type EmbeddingOptions } from "../../methods/embedding.ts";
import type { Split } from "../../data/open_dataset.ts";
import { DEFAULT_MAX_PIXELS } from "../../data/decode.ts";
import { SAMPLE_DATA } from "../../data/sample.ts";
import type { EncoderRole, Stem } from "../../models/encoder.ts";
import { EMBEDDING_FORMATS, type EmbeddingFormat } from "../output/embedding_writer.ts";
import type { FlagTable } from "../../methods/flag_table.ts";
import {
  encoderFlags,
  type EncoderNames,
  evalResizeFlag,
  GENERAL,
  imageSizeFlag,
  maxPixelsFlag,
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
    ...encoderFlags(context, ENCODER, "the encoder, where the checkpoint does not tell"),
    part: {
      kind: "choice",
      values: ["backbone", "encoder"],
      group: ENCODER,
      help:
        "the pooled feature of the backbone, which linear evaluation and kNN use; or the encoder's embedding, behind " +
        "its head and L2-normalised",
      brief: "backbone: pooled feature; encoder: normalised embedding",
    },

    output: {
      kind: "text",
      metavar: "FILE",
      short: "o",
      group: FILES,
      help:
        "file to write: .npy (float32 [images, dimension]; the names go to FILE.names.csv), .csv or .jsonl",
      brief: "file to write: .npy, .csv or .jsonl",
    },
    split: {
      kind: "choice",
      values: ["train", "test"],
      group: FILES,
      help: "which part of a DATA folder that has both",
      brief: "train or test, of a DATA folder that has both",
    },
    force: { kind: "boolean", group: FILES, help: "replace existing files", brief: "replace existing files" },

    neighbours: {
      kind: "text",
      metavar: "FILE.png",
      aliases: ["neighbors"],
      group: NEIGHBOURS,
      help: "a contact sheet: some images, each beside its nearest neighbours",
      brief: "a contact sheet of nearest neighbours",
    },
    queries: {
      kind: "integer",
      min: 1,
      max: 1000,
      group: NEIGHBOURS,
      help: "images on the sheet, chosen at random",
    },
    knnK: { kind: "integer", min: 1, max: 100, short: "k", group: NEIGHBOURS, help: "neighbours of each" },
    seed: { kind: "integer", min: 0, group: NEIGHBOURS, help: "seed of the random choice" },

    imageSize: imageSizeFlag(GENERAL),
    maxPixels: maxPixelsFlag(GENERAL),
    evalResize: evalResizeFlag(GENERAL),
    batchSize: {
      kind: "integer",
      min: 1,
      short: "b",
      group: GENERAL,
      help: "images in a batch",
    },
    workers: workersFlag(GENERAL, 64, "Workers that decode images"),
    quiet: { kind: "boolean", short: "q", group: GENERAL, help: "show no progress" },
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
  const { batchSize, workers, queries, k, seed } = DEFAULTS;
  return formatHelp({
    usage: "deno task embed --pretrained FILE [flags] [DATA]     (or ./seed embed ...)",
    intro: [
      "Writes what an encoder makes of images: a row of numbers for each one, with its name and label. Images are " +
      "scaled and cut to their middle, as in an evaluation; broken ones are named and left out.",
      "DATA is a TSV file, a folder of images, a file of CIFAR, or a folder of these as deno task distill takes it; the " +
      "bundled images where it is left out.",
    ],
    table: makeTable(context),
    defaults: {
      arch: "default: recognised from the checkpoint",
      stem: STEM_DEFAULT_NOTE,
      which: "default: student",
      weights: WEIGHTS_DEFAULT_NOTE,
      part: "default: backbone",
      split: "default: train",
      queries: `default: ${queries}`,
      knnK: `default: ${k}`,
      seed: `default: ${seed}`,
      ...VIEW_DEFAULT_NOTES,
      maxPixels: `default: ${DEFAULT_MAX_PIXELS}`,
      batchSize: `default: ${batchSize}`,
      workers: `default: ${workers}`,
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
    throw new UsageError("--pretrained FILE is needed: the checkpoint of the encoder");
  }
  if (output === undefined && neighbours === undefined) {
    throw new UsageError(
      "say what to write: --output FILE for the embeddings, --neighbours FILE.png for a contact sheet",
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
        `--${name === "knnK" ? "knn-k" : name} is about --neighbours: add that, or leave it out`,
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
      part: values.part ?? DEFAULTS.part,
      data: data === undefined ? SAMPLE_DATA : resolvePath(data, folder),
      split: values.split ?? "train",
      batchSize: values.batchSize ?? DEFAULTS.batchSize,
      imageSize: values.imageSize,
      maxPixels: values.maxPixels ?? DEFAULT_MAX_PIXELS,
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
