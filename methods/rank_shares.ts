/** What several ranks have in common. */
import type { Ranks } from "../actors/ranks/ranks.ts";
import { UserError } from "../errors.ts";

/** Of several ranks one alone cannot go back to a checkpoint. */
export const CANNOT_GO_BACK =
  "an actor of this rank crashed, and the other ranks are ahead of the newest checkpoint. All ranks end; start them again " +
  "with --resume auto";

/**
 * Fails where the ranks' shares of a batch would not be equal.
 *
 * @throws {UserError}
 */
export function requireEqualShares(batchSize: number, { size }: Ranks): void {
  if (batchSize % size === 0) return;
  const [less, more] = [Math.floor, Math.ceil].map((round) => round(batchSize / size) * size);
  throw new UserError(
    `--batch-size ${batchSize} cannot be shared by ${size} ranks: expected a multiple of ${size}, such as ` +
      (less === 0 ? `${more}` : `${less} or ${more}`),
  );
}

/** The signal that may end a run before its actors have started: none of several ranks, which end together when they meet. */
export function earlySignal(
  signal: AbortSignal | undefined,
  ranks: Ranks | undefined,
): AbortSignal | undefined {
  return ranks === undefined ? signal : undefined;
}
