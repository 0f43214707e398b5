/** Which groups of a batch can be normalised by themselves, `--bn-splits`. */
import { type Ranks, rowsOf } from "../../actors/ranks/ranks.ts";
import { UserError } from "../../errors.ts";
import { byteLength, Graph, type Tensor } from "../../kernels/graph.ts";
import { ALIGNMENT } from "../../kernels/memory_plan.ts";
import { batchStatistics } from "../../kernels/ops/batch_norm/batch_norm.ts";
import { traceEncoder } from "../../models/encoder.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import { traceImages } from "../../models/images.ts";
import { findEncoder, usualHead } from "../../models/registry.ts";
import type { PretrainOptions } from "./options.ts";

/** Images of a group at least: fewer give poor statistics. */
const LEAST_OF_GROUP = 8;

/** The options that decide about it. */
type SplitOptions = Pick<
  PretrainOptions,
  "bnSplits" | "syncBn" | "batchSize" | "arch" | "imageSize" | "amp"
>;

/** The maps of one image that batch norm normalises; none of an encoder without it. */
function normalizedMaps({ arch, imageSize }: SplitOptions): Tensor[] {
  const encoder = findEncoder(arch);
  const graph = new Graph();
  const { images } = traceImages(graph, "normalized", 1, imageSize);
  traceEncoder(encoder, new EncoderBuilder(graph, "train"), images, usualHead(encoder));
  return graph.nodes.filter(({ op }) => op === batchStatistics).map(({ inputs: [map] }) => map);
}

/**
 * The number that divides the images of every group: kernels bind the maps of one group, which begin at a multiple of 256
 * bytes. A power of two: 1 for a ResNet, whose maps have 64 channels and more, and up to 16 in float16 for others.
 */
function imagesPerAlignment(maps: readonly Tensor[], { amp }: SplitOptions): number {
  const needed = maps.map((map) => {
    let images = 1;
    while (images * byteLength(map) / (amp ? 2 : 1) % ALIGNMENT !== 0) images *= 2;
    return images;
  });
  return Math.max(1, ...needed);
}

/** Whether a batch of that many images can be normalised in equal groups, each of a multiple of so many images. */
function fits(splits: number, batchSize: number, multiple: number): boolean {
  return splits === 1 || batchSize % (splits * multiple) === 0 && batchSize / splits >= LEAST_OF_GROUP;
}

/** The numbers of groups, 1 included, that {@linkcode fits}. */
function fittingSplits(batchSize: number, multiple: number): number[] {
  return Array.from({ length: batchSize }, (_, i) => i + 1).filter((splits) =>
    fits(splits, batchSize, multiple)
  );
}

/**
 * Fails where batch norm cannot normalise groups of a batch; of a rank's share of it, where several share it equally.
 *
 * @throws {UserError} that says which numbers would do
 */
export function checkSplits(options: SplitOptions, ranks?: Ranks): void {
  const { bnSplits, syncBn, arch } = options;
  const batchSize = rowsOf(options.batchSize, ranks);
  if (bnSplits === 1) return;
  if (syncBn) {
    throw new UserError(
      `--sync-bn normalises the images of all ranks together, and --bn-splits ${bnSplits} those of a rank in ` +
        "groups; use one of the two",
    );
  }
  const multiple = imagesPerAlignment(normalizedMaps(options), options);
  if (fits(bnSplits, batchSize, multiple)) return;
  const others = fittingSplits(batchSize, multiple);
  const whose = multiple === 1 ? "" : `, for ${arch} a multiple of ${multiple}`;
  const whole = `--batch-size ${options.batchSize}`;
  const what = ranks === undefined ? whole : `a rank's ${batchSize} images of ${whole}`;
  throw new UserError(
    `--bn-splits ${bnSplits} does not split ${what} into equal groups of at least ${LEAST_OF_GROUP} ` +
      `images${whose}; use --bn-splits ${others.join(", ")}`,
  );
}

/**
 * Warns of ranks whose queries and keys are normalised with statistics of the same few images: MoCo without shuffling BN.
 * `undefined` where they are not.
 */
export function describeUnshuffled(options: SplitOptions, ranks: Ranks | undefined): string | undefined {
  if (ranks === undefined || ranks.size === 1 || options.syncBn || options.bnSplits !== 1) return undefined;
  const maps = normalizedMaps(options);
  if (maps.length === 0) return undefined;
  const rows = rowsOf(options.batchSize, ranks);
  const [, ...splits] = fittingSplits(rows, imagesPerAlignment(maps, options));
  const groups = splits.length === 0
    ? ""
    : `--bn-splits ${splits.join(", ")}, which normalises keys in other groups, or `;
  return `batch norm takes a rank's ${rows} images for queries and for their keys. By these statistics the encoder can tell the ` +
    "right key, without good features: this is MoCo without shuffling BN. " +
    `Use ${groups}--sync-bn, whose statistics of all ${options.batchSize} images tell less`;
}
