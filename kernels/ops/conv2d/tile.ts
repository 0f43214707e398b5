/** Which register tile a matrix product of some size runs with. */
import type { Target } from "../../gpu.ts";
import type { ProductKind, Tile } from "../../tuning/tuning.ts";

/**
 * The tile that wastes least: padded work divided by the tile's throughput, with a penalty where there are fewer
 * workgroups than the device can run at once.
 *
 * @param rows rows of the product
 * @param columns columns of the product
 * @param copies how many such products run side by side (phases, taps); counts as parallelism
 */
export function chooseTile(
  { tuning, parallelism }: Target,
  kind: ProductKind,
  rows: number,
  columns: number,
  copies = 1,
): Tile {
  let best: Tile | undefined;
  let bestCost = Infinity;
  for (const tile of tuning.tiles[kind]) {
    const down = Math.ceil(rows / (tile.rows * tile.lanesDown));
    const across = Math.ceil(columns / (tile.columns * tile.lanesAcross));
    const work = down * tile.rows * tile.lanesDown * across * tile.columns * tile.lanesAcross;
    const cost = work / tile.efficiency * Math.max(1, parallelism / (down * across * copies));
    if (cost < bestCost) [best, bestCost] = [tile, cost];
  }
  return best!;
}

/**
 * Whether the lanes of a workgroup share the rows of their tile: they are one subgroup, so that each can load some rows and hand them
 * to the others, and all have the same rows.
 */
export function sharesRows(
  { hasSubgroups, vectorLanes }: Target,
  { rows, lanesAcross, lanesDown }: Tile,
): boolean {
  return hasSubgroups && lanesAcross === vectorLanes && lanesDown === 1 && rows % vectorLanes === 0;
}
