/** The flags of `deno task knn`. */
import { VIEW_DEFAULT_NOTES } from "../../methods/encoder_views.ts";
import { KNN_DEFAULTS } from "../../methods/knn.ts";
import type { KnnInput } from "../../methods/runs.ts";
import { DEFAULT_MAX_PIXELS } from "../../data/decode.ts";
import { SAMPLE_DATA } from "../../data/sample.ts";
import type { FlagTable } from "../../methods/flag_table.ts";
import {
  encoderFlags,
  type EncoderNames,
  evalResizeFlag,
  fastDecodeFlag,
  FEATURE_DEFAULT_NOTE,
  FRESH_ENCODER,
  frozenAmpFlag,
  GENERAL,
  HEADS_DEFAULT_NOTE,
  imageSizeFlag,
  maxPixelsFlag,
  STEM_DEFAULT_NOTE,
  testDataFlag,
  voteFlags,
  WEIGHTS_DEFAULT_NOTE,
} from "../../methods/shared_flags.ts";
import { type EncoderFlagsContext, requireCheckpointOf, requireEncoder } from "./encoder_flags.ts";
import { helpExtent, helpFlag, parseFlags } from "./flags.ts";
import { formatHelp } from "./help.ts";
import { callersFolder, resolvePath } from "./paths.ts";
import { pluginOption } from "./plugin.ts";
import { requireDataOf } from "./run_flags.ts";

const ENCODER = "Encoder";
const VOTE = "Weighted kNN";
const DATA = "Images";

function makeTable(context: EncoderNames) {
  return {
    ...encoderFlags(context, ENCODER, FRESH_ENCODER),
    amp: frozenAmpFlag(ENCODER),
    seed: {
      kind: "integer",
      min: 0,
      group: ENCODER,
      help: "random seed for the weights without --pretrained, and for the choice of held-out labels",
    },
    ...voteFlags(VOTE),
    testData: testDataFlag(DATA),
    imageSize: imageSizeFlag(DATA),
    maxPixels: maxPixelsFlag(DATA),
    fastDecode: fastDecodeFlag(DATA),
    evalResize: evalResizeFlag(DATA),
    json: { kind: "boolean", group: GENERAL, help: "print one JSON object", brief: "print one JSON object" },
    help: helpFlag(GENERAL),
  } as const satisfies FlagTable;
}

/** What the command line asks for. */
export type KnnCommand = { help: string } | { help: undefined; request: KnnInput; json: boolean };

/** The text of `deno task knn --help`. */
export function knnHelp(context: EncoderFlagsContext): string {
  const { knnK, knnT, seed } = KNN_DEFAULTS;
  return formatHelp({
    usage: "deno task knn [flags] [DATA]     (or ./seed knn [flags] [DATA])",
    intro: [
      "Evaluates an encoder by weighted kNN: the nearest training images vote for the class of each test " +
      "image, weighted by the similarity of the encoder's pooled features. Nothing is trained.",
      "DATA is a folder with train.tsv and test.tsv, with train/ and val/ (one folder of images per class), or with " +
      "the CIFAR binary files. Without DATA, the bundled images are used.",
    ],
    table: makeTable(context),
    defaults: {
      arch: "default: recognised from the checkpoint",
      stem: STEM_DEFAULT_NOTE,
      which: "default: student",
      weights: WEIGHTS_DEFAULT_NOTE,
      heads: HEADS_DEFAULT_NOTE,
      feature: FEATURE_DEFAULT_NOTE,
      seed: `default: ${seed}`,
      knnK: `default: ${knnK}`,
      knnT: `default: ${knnT}`,
      testData: "default: test.tsv, val/ or similar in DATA; without them, held-out labels of DATA",
      ...VIEW_DEFAULT_NOTES,
      maxPixels: `default: ${DEFAULT_MAX_PIXELS}`,
    },
    width: context.width,
    extent: context.extent,
  });
}

/**
 * Reads the command line of `deno task knn`. Looks at no file: see `checkKnnInputs` for that.
 *
 * @throws {UsageError} for a flag that is unknown or wrong
 */
export function parseKnnFlags(args: readonly string[], context: EncoderFlagsContext): KnnCommand {
  const extent = helpExtent(args);
  if (extent !== undefined) return { help: knnHelp({ ...context, extent }) };
  const { values, positionals: [data] } = parseFlags(makeTable(context), args, { positionals: 1 });
  const { folder = callersFolder() } = context;
  const { pretrained, testData, knnK, plugin, json = false, help: _, ...rest } = values;
  const { arch, which } = rest;
  const path = (name: "pretrained" | "testData") =>
    values[name] === undefined ? {} : { [name]: resolvePath(values[name], folder) };
  requireEncoder({ pretrained, arch });
  requireDataOf({ testData, data }, "DATA");
  requireCheckpointOf(which, pretrained);
  const request: KnnInput = {
    ...rest,
    ...path("pretrained"),
    ...path("testData"),
    data: data === undefined ? SAMPLE_DATA : resolvePath(data, folder),
    ...knnK && { knnK: [...new Set(knnK)] },
    ...pluginOption(plugin, folder),
  };
  return { help: undefined, request, json };
}
