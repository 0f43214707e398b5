/** Workgroup memory of the staged family: what a tile takes of it, and which tiles an adapter has enough for. */
import { GPU_TUNING, PRODUCT_KINDS, type ProductKind, type Tile, type Tuning } from "./tuning.ts";

/** Vec4s (vec4) of the summed dimension that a stage holds. */
export const STAGE_QUADS = 4;

/** Numbers of the summed dimension that a stage holds. */
export const STAGE = 4 * STAGE_QUADS;

/** Vec4s from one row of a stage to the next: rows that are read at the same time lie in different banks. */
export const ROW_QUADS = STAGE_QUADS + 1;

/** Vec4s of workgroup memory that a product keeps of its left and its right operand. */
export function stagedVec4s(
  kind: ProductKind,
  { rows, columns, lanesAcross, lanesDown }: Tile,
): [left: number, right: number] {
  const [height, columnVec4s] = [rows * lanesDown, columns / 4 * lanesAcross];
  switch (kind) {
    case "forward":
      return [height * ROW_QUADS, columnVec4s * STAGE];
    case "inputGradient": // columns that are put at the same time lie in different banks
      return [height * ROW_QUADS, (columnVec4s + 1) * STAGE];
    case "weightGradient":
      return [STAGE * height / 4, STAGE * columnVec4s];
  }
}

/** Whether a workgroup has enough memory for a tile, of any of the three products. */
export function fitsWorkgroup(tile: Tile, bytes: number): boolean {
  return PRODUCT_KINDS.every((kind) => {
    const [left, right] = stagedVec4s(kind, tile);
    return 16 * (left + right) <= bytes;
  });
}

/**
 * The same choices without the tiles that workgroups have too little memory for. WebGPU guarantees 16 KiB, and two tiles
 * take more.
 */
export function tilesWithin(tuning: Tuning, bytes: number): Tuning {
  if (tuning.family !== "staged") return tuning;
  const within = (kind: ProductKind) => {
    const [own, usual] = [tuning, GPU_TUNING].map(({ tiles }) =>
      tiles[kind].filter((tile) => fitsWorkgroup(tile, bytes))
    );
    return own.length > 0 ? own : usual;
  };
  const [forward, inputGradient, weightGradient] = PRODUCT_KINDS.map(within);
  return { ...tuning, tiles: { forward, inputGradient, weightGradient } };
}
