/** Labelled features that ranks have embedded in turn, put together as one process would have them. */
import { LabelledFeatures } from "../labelled_features.ts";
import { gatherIntegers, gatherRows, type RankPeers } from "./peers.ts";

/**
 * Returns the features of all ranks in the order of the data; see `wholeBatchesOf()`. This rank's are taken from it.
 *
 * @param own a chunk for each batch, one without rows too
 * @param most rows of a batch at most
 */
export async function gatherFeatures(
  peers: RankPeers,
  own: LabelledFeatures,
  most: number,
): Promise<LabelledFeatures> {
  const { dimension: length } = own;
  const counts = await gatherIntegers(peers, [own.chunks.length]);
  const rounds = Math.max(...counts.map(([count]) => count));
  const all = new LabelledFeatures(length);
  const chunks = own.takeChunks();
  let at = 0;
  for (let round = 0; round < rounds; round++) {
    const values = chunks.next().value ?? new Float32Array();
    const rows = values.length / length;
    const tags = Int32Array.from(own.labels.slice(at, at += rows));
    for (const found of await gatherRows(peers, { tags, values }, { most, width: 1, length })) {
      all.add(found.values, [...found.tags]);
    }
  }
  return all;
}

/** Returns the labels of all ranks, those of one behind those of the one before. */
export async function gatherLabels(peers: RankPeers, own: readonly number[]): Promise<number[]> {
  const counts = await gatherIntegers(peers, [own.length]);
  const padded = new Int32Array(Math.max(...counts.map(([count]) => count)));
  padded.set(own);
  const found = await gatherIntegers(peers, padded);
  return found.flatMap((labels, rank) => [...labels.subarray(0, counts[rank][0])]);
}
