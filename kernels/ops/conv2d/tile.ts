/** Which register tile a matrix product of some size runs with. */
import type { Target } from "../../gpu.ts";

/** Shape of the work of one invocation and one workgroup. Rows and columns are those of the product. */
export interface Tile {
  /** Rows an invocation computes. */
  rows: number;
  /** Columns an invocation computes, a multiple of four. */
  columns: number;
  /** Invocations of a workgroup across columns, then across rows. */
  lanesAcross: number;
  lanesDown: number;
}

/** Invocations that a software adapter runs in one vector register (256 bits of float32). */
const SOFTWARE_LANES = 8;

/**
 * Relative throughput of register tiles (rows x columns) on the software adapter, operands from textures, measured
 * with a 1024 matrix product: `deno task bench tiles`.
 */
const SOFTWARE_EFFICIENCY: Record<string, number> = {
  "16x16": 1,
  "8x16": 0.8,
  "16x8": 0.69,
  "8x8": 0.58,
  "4x16": 0.57,
  "16x4": 0.54,
  "4x8": 0.46,
  "8x4": 0.47,
  "4x4": 0.38,
};

/** Tiles of the staged family: operands in workgroup memory, 8 x 8 or 16 x 16 invocations. */
const GPU_TILES: readonly (Tile & { efficiency: number })[] = [
  { rows: 8, columns: 8, lanesAcross: 16, lanesDown: 16, efficiency: 1 },
  { rows: 4, columns: 8, lanesAcross: 8, lanesDown: 16, efficiency: 0.85 },
  { rows: 4, columns: 4, lanesAcross: 16, lanesDown: 16, efficiency: 0.8 },
  { rows: 4, columns: 4, lanesAcross: 8, lanesDown: 8, efficiency: 0.6 },
];

/**
 * The tile that wastes least: padded work divided by the tile's throughput, with a penalty where there are fewer
 * workgroups than the device can run at once.
 *
 * @param rows rows of the product
 * @param columns columns of the product
 * @param copies how many such products run side by side (phases, taps); counts as parallelism
 */
export function chooseTile(target: Target, rows: number, columns: number, copies = 1): Tile {
  const candidates = target.isSoftware ? softwareTiles() : GPU_TILES;
  let best: Tile | undefined;
  let bestCost = Infinity;
  for (const { efficiency, ...tile } of candidates) {
    const down = Math.ceil(rows / (tile.rows * tile.lanesDown));
    const across = Math.ceil(columns / (tile.columns * tile.lanesAcross));
    const work = down * tile.rows * tile.lanesDown * across * tile.columns * tile.lanesAcross;
    const cost = work / efficiency * Math.max(1, target.parallelism / (down * across * copies));
    if (cost < bestCost) [best, bestCost] = [tile, cost];
  }
  return best!;
}

function softwareTiles(): (Tile & { efficiency: number })[] {
  return Object.entries(SOFTWARE_EFFICIENCY).flatMap(([name, efficiency]) => {
    const [rows, columns] = name.split("x").map(Number);
    return [8, 4, 2, 1].map((lanesAcross) => ({
      rows,
      columns,
      lanesAcross,
      lanesDown: SOFTWARE_LANES / lanesAcross,
      efficiency,
    }));
  });
}
