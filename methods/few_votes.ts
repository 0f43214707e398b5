/**
 * Says of which numbers of neighbours (k) there are fewer images that vote: all of these vote then.
 *
 * @param bank images that vote
 * @returns `undefined` where there are enough for each
 */
export function describeFewVotes(ks: readonly number[], bank: number): string | undefined {
  const large = ks.filter((k) => k > bank);
  if (large.length === 0) return undefined;
  return `k = ${large.join(", ")}: only ${bank} ${bank === 1 ? "image votes" : "images vote"}`;
}
