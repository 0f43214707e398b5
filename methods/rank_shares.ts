/** Batches that ranks share. */
import type { Ranks } from "../actors/ranks/ranks.ts";
import { UserError } from "../errors.ts";

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
