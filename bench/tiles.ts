/** Register tiles of the software adapter's matrix products against each other: where `tile.ts` has its figures from. */
import type { Gpu } from "../kernels/gpu.ts";
import { Graph, type Op } from "../kernels/graph.ts";
import { forwardSource, type OperandSource, PLAIN } from "../kernels/ops/conv2d/generator.ts";
import { geometryOf, geometryUniforms } from "../kernels/ops/conv2d/geometry.ts";
import type { Tile } from "../kernels/ops/conv2d/tile.ts";
import type { Contestant } from "./measure.ts";
import { contestant } from "./ours.ts";

/** Rows and columns of the tiles that are compared. */
export const TILE_SIZES: readonly (readonly [rows: number, columns: number])[] = [
  [16, 16],
  [8, 16],
  [16, 8],
  [8, 8],
  [4, 16],
  [16, 4],
  [4, 8],
  [8, 4],
  [4, 4],
];

/** a [size, size] times b [size, size] with one tile, eight lanes across columns. */
export async function tiledProduct(
  gpu: Gpu,
  size: number,
  a: Float32Array,
  b: Float32Array,
  [rows, columns]: readonly [number, number],
  source: OperandSource,
): Promise<Contestant> {
  const tile: Tile = { rows, columns, lanesAcross: 8, lanesDown: 1 };
  const product: Op<Record<never, never>> = {
    name: "product",
    shape: ([x]) => [{ shape: x.shape }],
    lower(lowering, node) {
      const [x, w] = node.inputs;
      const geometry = { stride: 1, padTop: 0, padLeft: 0, padBottom: 0, padRight: 0 };
      lowering.dispatch({
        label: "product",
        source: forwardSource(tile, source, PLAIN, false),
        bindings: [...(source === "texture" ? [{ texture: x }, { texture: w }] : [x, w]), node.outputs[0]],
        uniforms: geometryUniforms(geometryOf(x.shape, w.shape, geometry), false, 1),
        workgroups: [Math.ceil(size / (columns * 8)), Math.ceil(size / rows), 1],
      });
    },
  };
  const graph = new Graph();
  const x = graph.source("a", [size, 1, 1, size]);
  const w = graph.source("b", [1, 1, size, size]);
  const y = graph.apply(product, [x, w], {});
  const made = await contestant(gpu, graph, [[x, a.slice()], [w, b.slice()]], { product: y });
  return { ...made, name: `${rows}x${columns} ${source}` };
}
