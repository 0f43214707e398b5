/**
 * Which kernels run fastest on a device: a table of measurements that products are cut into tiles by. Every choice computes
 * the same, to rounding; what differs between two tables is the time, and where a sum is cut the last bits.
 */
import { UserError } from "../../errors.ts";

/**
 * How a product loads its operands: staged in workgroup memory, which suits GPUs, or directly into registers, which
 * suits software adapters.
 */
export type ProductFamily = "staged" | "direct";

/** The three products of a convolution. */
export type ProductKind = "forward" | "inputGradient" | "weightGradient";

/** Shape of the work of one invocation and one workgroup. Rows and columns are those of the product. */
export interface Tile {
  /** Rows an invocation computes. */
  rows: number;
  /** Columns an invocation computes, a multiple of four. */
  columns: number;
  /** Invocations of a workgroup across columns. */
  lanesAcross: number;
  /** Invocations of a workgroup across rows. */
  lanesDown: number;
}

/** A tile, and its throughput in a large product relative to the best tile's. */
export interface TileChoice extends Tile {
  /** Relative throughput, 1 for the best. */
  efficiency: number;
}

/** Kernel choices for an adapter, as measured. */
export interface Tuning {
  /** Name of the adapter that it was measured on; omitted for the defaults of a kind. */
  adapter?: string;
  /** Kernel family of the products. */
  family: ProductFamily;
  /** Tiles to choose from, for each kind of product. */
  tiles: Readonly<Record<ProductKind, readonly TileChoice[]>>;
  /** Whether products and depthwise convolutions read their operands from copies in textures. */
  productTextures: boolean;
  /** Number of loads from which on another kernel reads a tensor from a texture copy; `null` if copies do not pay. */
  textureFromLoads: number | null;
}

/** Products, in the order of a training step. */
export const PRODUCT_KINDS: readonly ProductKind[] = ["forward", "inputGradient", "weightGradient"];

/**
 * Tiles of the direct family on software adapters, rows and columns: a workgroup fills one vector register. With subgroups these are
 * for results of few columns.
 */
export const DIRECT_TILES: readonly (readonly [rows: number, columns: number])[] = [
  [8, 16],
  [8, 8],
  [4, 4],
];

/**
 * Tiles of the same family whose rows the lanes of a workgroup share, which takes subgroups: for one row's load of every lane, a
 * lane loads an eighth of them. So rows may be many and columns few. The loop of a larger tile, 32 x 8, has 25 KiB of code: it runs
 * a tenth faster than these, and in every sixth process at half their speed.
 */
export const SHARED_TILES: readonly (readonly [rows: number, columns: number])[] = [
  [24, 8],
  [32, 4],
  [16, 8],
  [16, 4],
  [8, 4],
];

/**
 * Tiles of the staged family: operands in workgroup memory. Narrow and flat ones are for few channels, the last for
 * images.
 */
export const STAGED_TILES: readonly Tile[] = [
  { rows: 8, columns: 8, lanesAcross: 16, lanesDown: 16 },
  { rows: 8, columns: 8, lanesAcross: 8, lanesDown: 16 },
  { rows: 8, columns: 8, lanesAcross: 16, lanesDown: 8 },
  { rows: 8, columns: 8, lanesAcross: 8, lanesDown: 8 },
  { rows: 4, columns: 8, lanesAcross: 8, lanesDown: 16 },
  { rows: 4, columns: 4, lanesAcross: 16, lanesDown: 16 },
  { rows: 8, columns: 4, lanesAcross: 8, lanesDown: 16 },
  { rows: 4, columns: 4, lanesAcross: 8, lanesDown: 8 },
  { rows: 4, columns: 4, lanesAcross: 4, lanesDown: 16 },
  { rows: 4, columns: 4, lanesAcross: 16, lanesDown: 4 },
  { rows: 4, columns: 4, lanesAcross: 1, lanesDown: 64 },
];

/** In their order. */
const STAGED_EFFICIENCY = [1, 0.95, 0.95, 0.9, 0.85, 0.8, 0.8, 0.6, 0.5, 0.5, 0.25];

/** Tiles of the direct family on GPUs, whose caches may do what workgroup memory does. */
export const GPU_DIRECT_TILES: readonly Tile[] = [
  { rows: 8, columns: 8, lanesAcross: 8, lanesDown: 8 },
  { rows: 4, columns: 8, lanesAcross: 8, lanesDown: 8 },
  { rows: 4, columns: 4, lanesAcross: 8, lanesDown: 8 },
];

/**
 * The ways of a direct tile's lanes on a software adapter: across columns, down rows, or both. They are equally fast, but fit
 * differently.
 *
 * @param lanes those of a vector register, a power of two
 */
function withLanes(
  [rows, columns]: readonly [number, number],
  efficiency: number,
  lanes: number,
): TileChoice[] {
  const choices: TileChoice[] = [];
  for (let lanesAcross = lanes; lanesAcross >= 1; lanesAcross /= 2) {
    choices.push({ rows, columns, lanesAcross, lanesDown: lanes / lanesAcross, efficiency });
  }
  return choices;
}

/** Tiles to choose from on a software adapter. */
export interface SoftwareTiles {
  /** Tiles whose rows are shared, which have all lanes across columns; none without subgroups. */
  shared: readonly Tile[];
  /** Other tiles, each with one way of its lanes, by which it is measured. */
  direct: readonly Tile[];
}

/**
 * Tiles of a software adapter.
 *
 * @param lanes invocations in a vector register, a power of two
 * @param hasSubgroups whether these can hand values to each other
 */
export function softwareTiles(lanes: number, hasSubgroups: boolean): SoftwareTiles {
  const across = ([rows, columns]: readonly [number, number]) => ({
    rows,
    columns,
    lanesAcross: lanes,
    lanesDown: 1,
  });
  if (!hasSubgroups) return { shared: [], direct: DIRECT_TILES.map(across) };
  return {
    shared: SHARED_TILES.filter(([rows]) => rows % lanes === 0).map(across),
    direct: DIRECT_TILES.map((size) => ({ ...across(size), lanesAcross: lanes / 2, lanesDown: 2 })),
  };
}

/** Choices among tiles of a software adapter, by the efficiency of each: direct ones with every way of their lanes. */
export function softwareChoices(
  { shared, direct }: SoftwareTiles,
  efficiencyOf: (tile: Tile) => number,
): TileChoice[] {
  const sharesRows = ({ lanesDown }: Tile) => shared.length > 0 && lanesDown === 1;
  return [
    ...shared.map((tile) => ({ ...tile, efficiency: efficiencyOf(tile) })),
    ...direct.flatMap((tile) =>
      withLanes([tile.rows, tile.columns], efficiencyOf(tile), tile.lanesAcross * tile.lanesDown)
        .filter((choice) => !sharesRows(choice))
    ),
  ];
}

/** The same tiles for every product. */
export function sameTiles(tiles: readonly TileChoice[]): Tuning["tiles"] {
  return { forward: tiles, inputGradient: tiles, weightGradient: tiles };
}

/** Relative throughput by rows and columns: `deno task bench tiles`, on two cores with AVX-512. */
const SHARED_EFFICIENCY: Readonly<Record<string, number>> = {
  "24x8": 1,
  "32x4": 0.91,
  "16x8": 0.93,
  "16x4": 0.84,
  "8x4": 0.72,
};

/** The same of {@linkcode DIRECT_TILES}. */
const DIRECT_EFFICIENCY: Readonly<Record<string, number>> = { "8x16": 0.79, "8x8": 0.66, "4x4": 0.44 };

/**
 * From how many loads on kernels that are no products read a copy in a texture, where copies pay. A training step of
 * MobileNetV3-Small at 32 pixels takes 47.8 ms on one thread with 1,024, 48.0 with 4,096, 51.0 with 16,384 and 54.1 without such
 * copies, its optimizer 7.9 and 19.4 (Mesa 22.3 on a processor with AVX-512).
 */
export const TEXTURE_FROM_LOADS = 4096;

/**
 * For software adapters where nothing was measured.
 *
 * @param lanes invocations in a vector register
 * @param hasSubgroups whether these can hand values to each other
 */
export function softwareTuning(lanes: number, hasSubgroups: boolean): Tuning {
  const tiles = softwareTiles(lanes, hasSubgroups);
  const efficiencyOf = (tile: Tile) =>
    (tiles.shared.includes(tile) ? SHARED_EFFICIENCY : DIRECT_EFFICIENCY)[`${tile.rows}x${tile.columns}`];
  return {
    family: "direct",
    tiles: sameTiles(softwareChoices(tiles, efficiencyOf)),
    productTextures: true,
    textureFromLoads: TEXTURE_FROM_LOADS,
  };
}

/** For GPUs where nothing was measured. */
export const GPU_TUNING: Tuning = {
  family: "staged",
  tiles: sameTiles(STAGED_TILES.map((tile, i) => ({ ...tile, efficiency: STAGED_EFFICIENCY[i] }))),
  productTextures: false,
  textureFromLoads: null,
};

/** A table as a file has it. */
export function formatTuning(tuning: Tuning): string {
  return JSON.stringify(tuning, null, 2) + "\n";
}

/**
 * A table from a file.
 *
 * @param path names the file in errors
 * @param advice what errors end with
 * @throws {UserError} where it is none
 */
export function parseTuning(
  text: string,
  path: string,
  advice = "Delete it to have the adapter measured again, or use --no-tune",
): Tuning {
  const fail = (problem: string) => new UserError(`${path}: ${problem}. ${advice}`);
  let value: Partial<Tuning>;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw fail(`is not valid JSON (${(error as Error).message})`);
  }
  const isNumber = (found: unknown): found is number =>
    typeof found === "number" && found > 0 && found < Infinity;
  const isTile = (tile: Partial<TileChoice> | null) =>
    typeof tile === "object" && tile !== null &&
    ["rows", "columns", "lanesAcross", "lanesDown"].every((name) =>
      Number.isInteger(tile[name as keyof Tile])
    ) &&
    Object.values(tile).every(isNumber) && tile.columns! % 4 === 0 && isNumber(tile.efficiency);
  const hasTiles = (kind: ProductKind) => {
    const tiles = value?.tiles?.[kind];
    return Array.isArray(tiles) && tiles.length > 0 && tiles.every(isTile);
  };
  const { adapter, family, productTextures, textureFromLoads } = value ?? {};
  if (!["string", "undefined"].includes(typeof adapter)) {
    throw fail(`expected the name of an adapter, found ${JSON.stringify(adapter)}`);
  }
  if (!["staged", "direct"].includes(String(family))) {
    throw fail(`expected a family of kernels (staged or direct), found ${JSON.stringify(family)}`);
  }
  if (typeof productTextures !== "boolean") {
    throw fail(`expected productTextures to be true or false, found ${JSON.stringify(productTextures)}`);
  }
  if (textureFromLoads !== null && !isNumber(textureFromLoads)) {
    throw fail(`expected textureFromLoads to be a number or null, found ${JSON.stringify(textureFromLoads)}`);
  }
  const missing = PRODUCT_KINDS.find((kind) => !hasTiles(kind));
  if (missing !== undefined) throw fail(`expected a list of tiles for ${missing}, found something else`);
  return value as Tuning;
}
