/** The part that one process has in a run of several. */

/** Which process of a run this is: PyTorch's `rank` and `world_size`. */
export interface Ranks {
  /** Number of this process, from 0. The first one writes all files of the run. */
  rank: number;
  /** How many there are. Each takes its share of every batch. */
  size: number;
}

/** Names ranks in a sentence: `rank 1`, `ranks 1, 2`. */
export function nameRanks(ranks: readonly number[]): string {
  return ranks.length === 1 ? `rank ${ranks[0]}` : `ranks ${ranks.join(", ")}`;
}

/** What gradients become on their way between ranks: float32s as they are, or float16s with a common factor. */
export type GradientCompression = "none" | "f16";

/** Every {@linkcode GradientCompression}. */
export const GRADIENT_COMPRESSIONS: readonly GradientCompression[] = ["none", "f16"];

/** {@linkcode Ranks} with what the actor is told that exchanges with the others. */
export interface RankSettings extends Ranks {
  /** Configuration of `gradient_exchange`, besides rank and size: with MPI, the library's path. */
  exchange: Readonly<Record<string, unknown>>;
  /** Bytes of gradients that are exchanged together, a multiple of 4. Default: 25 MiB, as PyTorch's `bucket_cap_mb`. */
  bucketBytes?: number;
  /** How many of the ranks are on this machine, and share its memory. Default: 1. */
  onMachine?: number;
}

/** Which part of a batch. */
export interface Share {
  /** From 0. */
  index: number;
  /** Into how many parts a batch is divided. */
  of: number;
}

/** Returns the share of each batch that a rank takes; nothing where it takes the whole. */
export function shareOf(ranks: Ranks | undefined): Share | undefined {
  return ranks && { index: ranks.rank, of: ranks.size };
}

/** Returns how many images of a batch a rank takes. */
export function rowsOf(batchSize: number, ranks: Ranks | undefined): number {
  return batchSize / (ranks?.size ?? 1);
}

/** Why a run ended: another rank was stopped. */
export class StoppedByRank extends Error {
  override name = "StoppedByRank";
  /** The exit code of that rank, where it is known. */
  readonly code?: number;

  /** @param rank which one, where it is known */
  constructor(rank?: number, code?: number) {
    super(`${rank === undefined ? "another rank" : `rank ${rank}`} of the run was stopped`);
    this.code = code;
  }
}
