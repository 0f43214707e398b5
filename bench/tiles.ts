/** Register tiles of the software adapter's matrix products against each other: where `tuning.ts` has its figures from. */
import type { Gpu, Target } from "../kernels/gpu.ts";
import { sharesRows } from "../kernels/ops/conv2d/tile.ts";
import { sameTiles, type Tile, type Tuning } from "../kernels/tuning/tuning.ts";
import type { Contestant } from "./measure.ts";
import { product } from "./ours.ts";

/** What a tile is called in the table. */
export function tileName(target: Target, tile: Tile): string {
  return `${tile.rows}x${tile.columns}${sharesRows(target, tile) ? ", shared" : ""}`;
}

/** a [size, size] times b [size, size] with one tile. */
export async function tiledProduct(
  gpu: Gpu,
  size: number,
  a: Float32Array,
  b: Float32Array,
  tile: Tile,
  source: "texture" | "buffer",
): Promise<Contestant> {
  const tuning: Tuning = {
    ...gpu.target.tuning,
    family: "direct",
    productTextures: source === "texture",
    tiles: sameTiles([{ ...tile, efficiency: 1 }]),
  };
  const made = await product({ ...gpu, target: { ...gpu.target, tuning } }, size, a, b);
  return { ...made, name: `${tileName(gpu.target, tile)} from a ${source}` };
}
