/** Which groups of a batch can be normalised by themselves, `--bn-splits`. */
import { type Ranks, rowsOf } from "../../actors/ranks/ranks.ts";
import { UserError } from "../../errors.ts";
import { byteLength, Graph } from "../../kernels/graph.ts";
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

/**
 * The number that divides the images of every group: kernels bind the maps of one group, which begin at a multiple of 256
 * bytes. A power of two: 1 for a ResNet, whose maps have 64 channels and more, and up to 16 in float16 for others.
 */
function imagesPerAlignment({ arch, imageSize, amp }: SplitOptions): number {
  const encoder = findEncoder(arch);
  const graph = new Graph();
  const { images } = traceImages(graph, "normalized", 1, imageSize);
  traceEncoder(encoder, new EncoderBuilder(graph, "train"), images, usualHead(encoder));
  const needed = graph.nodes.filter(({ op }) => op === batchStatistics).map(({ inputs: [map] }) => {
    let images = 1;
    while (images * byteLength(map) / (amp ? 2 : 1) % ALIGNMENT !== 0) images *= 2;
    return images;
  });
  return Math.max(1, ...needed);
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
  const multiple = imagesPerAlignment(options);
  const fits = (splits: number) =>
    splits === 1 ||
    batchSize % (splits * multiple) === 0 && batchSize / splits >= LEAST_OF_GROUP;
  if (fits(bnSplits)) return;
  const others = Array.from({ length: batchSize }, (_, i) => i + 1).filter(fits);
  const whose = multiple === 1 ? "" : `, for ${arch} a multiple of ${multiple}`;
  const whole = `--batch-size ${options.batchSize}`;
  const what = ranks === undefined ? whole : `a rank's ${batchSize} images of ${whole}`;
  throw new UserError(
    `--bn-splits ${bnSplits} does not split ${what} into equal groups of at least ${LEAST_OF_GROUP} ` +
      `images${whose}; use --bn-splits ${others.join(", ")}`,
  );
}
