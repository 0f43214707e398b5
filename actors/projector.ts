/** Projects features onto a plane, for people. */
// deno-lint-ignore no-import-prefix -- importers of this library have import maps of their own
import { PCA } from "npm:ml-pca@4.1.1";
// deno-lint-ignore no-import-prefix -- importers of this library have import maps of their own
import { UMAP } from "npm:umap-js@1.4.0";
import { Random } from "../data/random.ts";
import type { Projector } from "./messages.ts";
import { defineActor } from "./runtime/mod.ts";

/** Neighbours that UMAP keeps together; its authors' default. */
const UMAP_NEIGHBOURS = 15;

/** Rows of features, L2-normalised: it is by cosines that features are compared. */
function unitRows(features: Float32Array, dimension: number): number[][] {
  return Array.from({ length: features.length / dimension }, (_, i) => {
    const row = Array.from(features.subarray(i * dimension, (i + 1) * dimension));
    const norm = Math.hypot(...row) || 1;
    return row.map((value) => value / norm);
  });
}

/** The first two principal components, [n, 2]; of the two directions of each, the one with the larger extreme. */
function pcaMap(rows: number[][]): number[][] {
  const nComponents = Math.min(2, rows[0].length); // a feature of one number has one component
  const points = new PCA(rows, { center: true, scale: false, method: "SVD" })
    .predict(rows, { nComponents }).to2DArray();
  const signs = [0, 1].map((axis) => {
    const values = points.map((point) => point[axis] ?? 0);
    return Math.max(...values) >= -Math.min(...values) ? 1 : -1;
  });
  return points.map((point) => signs.map((sign, axis) => sign * (point[axis] ?? 0)));
}

function umapMap(rows: number[][], seed: number): number[][] {
  const random = new Random(seed, "umap");
  return new UMAP({
    nComponents: 2,
    nNeighbors: Math.min(UMAP_NEIGHBOURS, rows.length - 1),
    random: () => random.uniform(0, 1),
  }).fit(rows);
}

export default defineActor<Projector>(() => ({
  handlers: {
    project({ features, dimension, seed }) {
      const rows = unitRows(features, dimension);
      const flat = (points: number[][]) => new Float32Array(points.flat());
      // Two points are a line; one is nothing to draw a map of.
      if (rows.length < 3) return { pca: new Float32Array(2 * rows.length), umap: null };
      return { pca: flat(pcaMap(rows)), umap: rows.length > 3 ? flat(umapMap(rows, seed)) : null };
    },
  },
}));
