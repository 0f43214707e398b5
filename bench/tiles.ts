/** Register tiles of the software adapter's matrix products against each other: where `tuning.ts` has its figures from. */
import type { Gpu } from "../kernels/gpu.ts";
import { sameTiles, type Tuning } from "../kernels/tuning/tuning.ts";
import type { Contestant } from "./measure.ts";
import { product } from "./ours.ts";

/** a [size, size] times b [size, size] with one tile, all lanes across columns. */
export async function tiledProduct(
  gpu: Gpu,
  size: number,
  a: Float32Array,
  b: Float32Array,
  [rows, columns]: readonly [number, number],
  source: "texture" | "buffer",
): Promise<Contestant> {
  const tuning: Tuning = {
    ...gpu.target.tuning,
    family: "direct",
    productTextures: source === "texture",
    tiles: sameTiles([{ rows, columns, lanesAcross: gpu.target.vectorLanes, lanesDown: 1, efficiency: 1 }]),
  };
  const made = await product({ ...gpu, target: { ...gpu.target, tuning } }, size, a, b);
  return { ...made, name: `${rows}x${columns} ${source}` };
}
