/** Which register tile a matrix product of some size runs with. */
import type { Target } from "../../gpu.ts";
import type { ProductKind, Tile, TileChoice } from "../../tuning/tuning.ts";

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
  return cheapest(tuning.tiles[kind], parallelism, rows, columns, copies)!;
}

/** The same among tiles whose rows the lanes share; `undefined` where there are none. */
export function chooseSharedTile(
  target: Target,
  kind: ProductKind,
  rows: number,
  columns: number,
): Tile | undefined {
  const tiles = target.tuning.tiles[kind].filter((tile) => sharesRows(target, tile));
  return cheapest(tiles, target.parallelism, rows, columns, 1);
}

function cheapest(
  tiles: readonly TileChoice[],
  parallelism: number,
  rows: number,
  columns: number,
  copies: number,
): Tile | undefined {
  let best: Tile | undefined;
  let bestCost = Infinity;
  for (const tile of tiles) {
    const down = Math.ceil(rows / (tile.rows * tile.lanesDown));
    const across = Math.ceil(columns / (tile.columns * tile.lanesAcross));
    const work = down * tile.rows * tile.lanesDown * across * tile.columns * tile.lanesAcross;
    const cost = work / tile.efficiency * Math.max(1, parallelism / (down * across * copies));
    if (cost < bestCost) [best, bestCost] = [tile, cost];
  }
  return best;
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
