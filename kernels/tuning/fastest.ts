/** Which kernels are the fastest, by times that were measured. */
import { median } from "../profiler.ts";
import type { ProductFamily, ProductKind, Tile } from "./tuning.ts";

/** What was measured of one tile. */
export interface MeasuredTile {
  /** Its kernels. */
  readonly family: ProductFamily;
  /** The product that was timed. */
  readonly kind: ProductKind;
  readonly tile: Tile;
  /** Milliseconds, of each round. */
  readonly times: readonly number[];
}

/** The least of the tiles' median times. */
function leastTime(measured: readonly MeasuredTile[]): number {
  return Math.min(...measured.map(({ times }) => median(times)));
}

/** The family whose products of every kind, each by its fastest tile, take the least time together. */
export function fastestFamily(measured: readonly MeasuredTile[]): ProductFamily {
  const kinds = [...new Set(measured.map(({ kind }) => kind))];
  const totalOf = (family: ProductFamily) =>
    kinds.reduce(
      (sum, kind) => sum + leastTime(measured.filter((of) => of.family === family && of.kind === kind)),
      0,
    );
  return [...new Set(measured.map(({ family }) => family))]
    .reduce((best, other) => totalOf(other) < totalOf(best) ? other : best);
}

/** Speed of each tile as a share of the fastest one's, in thousandths. @param measured tiles of one family and kind */
export function efficienciesOf(measured: readonly MeasuredTile[]): Map<Tile, number> {
  const least = leastTime(measured);
  return new Map(
    measured.map(({ tile, times }) => [tile, Math.round(1000 * least / median(times)) / 1000]),
  );
}

/** Whether the first of two was faster in more than half of the rounds. @param rounds milliseconds of both */
export function winsMost(rounds: readonly (readonly [first: number, second: number])[]): boolean {
  return rounds.filter(([first, second]) => first < second).length > rounds.length / 2;
}
