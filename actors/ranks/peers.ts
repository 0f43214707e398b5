/** What the ranks of an evaluation tell each other: a few numbers, and the rows that each has embedded. */
import { crc32 } from "node:zlib";
import { UserError } from "../../errors.ts";
import type { GradientExchange } from "../messages.ts";
import type { ActorRef } from "../runtime/mod.ts";
import { nameRanks, type Ranks } from "./ranks.ts";

/** Exchanges take as long as the slowest rank. */
export const PATIENCE = { timeoutMs: Infinity };

/** The least int32: of no account in a maximum. */
const LEAST = -(2 ** 31);

/** Stands where a rank has fewer facts than another; no checksum of a name. */
const PADDING = 0;

/** Lists things in a sentence. */
const IN_WORDS = new Intl.ListFormat("en-GB");

/** This process among the ranks, and who exchanges with the others. */
export interface RankPeers extends Ranks {
  /** The actor that exchanges with them. */
  exchange: ActorRef<GradientExchange>;
}

/** Rows of numbers, each with some whole numbers beside it. */
export interface NumberedRows {
  /** Int32s [n, width]: row numbers, labels. */
  tags: Int32Array<ArrayBuffer>;
  /** Float32s [n, length]. */
  values: Float32Array<ArrayBuffer>;
}

/**
 * Tells all ranks some int32s of each, without keeping a core busy until all have come.
 *
 * @param own as many on every rank
 * @returns those of each rank, in the order of the ranks
 */
export async function gatherIntegers(
  { rank, size, exchange }: RankPeers,
  own: ArrayLike<number>,
): Promise<Int32Array<ArrayBuffer>[]> {
  const count = own.length;
  const all = new Int32Array(size * count).fill(LEAST);
  all.set(own, rank * count);
  const found = await exchange.ask("agree", all, PATIENCE);
  return Array.from({ length: size }, (_, of) => found.slice(of * count, (of + 1) * count));
}

/** {@linkcode gatherIntegers} of float64s, bit by bit. */
export async function gatherNumbers(peers: RankPeers, own: readonly number[]): Promise<Float64Array[]> {
  const words = new Int32Array(Float64Array.from(own).buffer);
  return (await gatherIntegers(peers, words)).map((found) => new Float64Array(found.buffer));
}

/**
 * Tells all ranks some rows of each: no more than a batch, so that memory stays bounded.
 *
 * @param most rows of a rank at most
 * @param width whole numbers of a row
 * @param length numbers of a row
 * @returns those of each rank, in the order of the ranks
 */
export async function gatherRows(
  peers: RankPeers,
  own: NumberedRows,
  { most, width, length }: { most: number; width: number; length: number },
): Promise<NumberedRows[]> {
  const told = new Int32Array(1 + most * width);
  told[0] = own.tags.length / width;
  told.set(own.tags, 1);
  const found = await gatherIntegers(peers, told);
  const rows = Math.max(...found.map(([count]) => count));
  const padded = new Float32Array(rows * length);
  padded.set(own.values);
  const all = rows === 0 ? padded : await peers.exchange.ask("gather", padded, PATIENCE);
  return found.map((tags, of) => {
    const from = of * rows * length;
    return { tags: tags.slice(1, 1 + tags[0] * width), values: all.slice(from, from + tags[0] * length) };
  });
}

/** Whether some int32s are the same on all ranks. */
export async function areSame(
  exchange: ActorRef<GradientExchange>,
  numbers: readonly number[],
): Promise<boolean> {
  const own = Int32Array.from(numbers.flatMap((number) => [number, ~number]));
  const largest = await exchange.ask("agree", own, PATIENCE);
  return numbers.every((_, i) => largest[2 * i] === ~largest[2 * i + 1]);
}

/**
 * Fails where a rank has something else than the first one, and says which ranks, and what.
 *
 * @param facts what all must have in common, by its name; fit for JSON. Ranks may have facts that others lack.
 * @throws {UserError}
 */
export async function requireSame(peers: RankPeers, facts: Readonly<Record<string, unknown>>): Promise<void> {
  if (await areSame(peers.exchange, [checksumOf(facts)])) return;
  const names = Object.keys(facts);
  const [most] = await peers.exchange.ask("agree", Int32Array.of(names.length), PATIENCE);
  const own = new Int32Array(2 * most);
  own.set(names.flatMap((name) => [checksumOf(name), checksumOf(facts[name])]));
  const [first, ...others] = (await gatherIntegers(peers, own)).map((words) =>
    new Map(Array.from({ length: most }, (_, i) => [words[2 * i], words[2 * i + 1]]))
  );
  const nameOf = new Map(names.map((name) => [checksumOf(name), name]));
  const differences = others.map((found) => {
    const keys = [...new Set([...first.keys(), ...found.keys()])].filter((key) => key !== PADDING);
    const different = keys.filter((key) => found.get(key) !== first.get(key));
    return [...new Set(different.map((key) => nameOf.get(key) ?? "a setting"))];
  });
  const ranksOf = Map.groupBy(differences.keys(), (i) => IN_WORDS.format(differences[i]));
  ranksOf.delete(""); // those that are as the first one
  throw new UserError(
    `the ranks do not do the same: ${
      [...ranksOf].map(([what, others]) =>
        `${nameRanks(others.map((i) => i + 1))} ${
          others.length === 1 ? "differs" : "differ"
        } from rank 0 in ${what}`
      ).join("; ")
    }. Start all with the same command line, and give all the same files`,
  );
}

/** CRC-32 of what is fit for JSON, as an int32. */
function checksumOf(fact: unknown): number {
  return crc32(new TextEncoder().encode(JSON.stringify(fact))) | 0;
}

/** Of several ranks one alone cannot begin again. */
export const CANNOT_BEGIN_AGAIN =
  "an actor of this rank crashed, and the other ranks are ahead of where it could begin again. All ranks end; start them " +
  "again";
