/** Features with their labels, as they come in batch by batch. */
import { type PackedImages, TABLE_STRIDE } from "../data/pack.ts";
import { UserError } from "../errors.ts";
import { findNotFinite } from "../models/finite.ts";

/** Returns the labels of a batch, as int32. */
export function labelsOf({ count, table }: PackedImages): number[] {
  return Array.from({ length: count }, (_, i) => table[i * TABLE_STRIDE + 4] | 0);
}

/** Returns the row numbers of a batch's images. */
export function rowsOf({ count, table }: PackedImages): number[] {
  return Array.from({ length: count }, (_, i) => table[i * TABLE_STRIDE + 3]);
}

/**
 * Fails where a feature is not finite. Weights are finite, so that it became too large on its way through the encoder.
 *
 * @param values features or embeddings, at least `views` of each image, one behind the other
 * @param dimension length of one
 * @throws {UserError} that names the row of the data
 */
export function requireFiniteFeatures(
  values: Float32Array,
  dimension: number,
  images: PackedImages,
  views = 1,
): void {
  const rows = rowsOf(images);
  const found = findNotFinite(values.subarray(0, rows.length * views * dimension));
  if (found === undefined) return;
  const place = Math.floor(found.first / dimension);
  throw new UserError(
    `row ${rows[Math.floor(place / views)] + 1}: the encoder's output holds ${found.value} at index ${
      found.first % dimension
    }. Its weights are finite, but ` +
      "its activations overflow float32, or float16 with --amp: use another checkpoint of the encoder, or leave " +
      "--amp out",
  );
}

/** A growing set of rows; a chunk a batch, also of one without rows, so that nothing is copied while it grows. */
export class LabelledFeatures {
  readonly dimension: number;
  /** As they came. */
  readonly chunks: Float32Array<ArrayBuffer>[] = [];
  readonly labels: number[] = [];
  /** Number of the chunk that each row is in, and of the row that the chunk begins with. */
  readonly #chunkOf: number[] = [];
  readonly #starts: number[] = [];

  /** @param dimension length of a feature */
  constructor(dimension: number) {
    this.dimension = dimension;
  }

  /** Takes [n, dimension] features, which must stay as they are, and n labels. */
  add(features: Float32Array<ArrayBuffer>, labels: readonly number[]): void {
    this.#starts.push(this.labels.length);
    for (const label of labels) {
      this.#chunkOf.push(this.chunks.length);
      this.labels.push(label);
    }
    this.chunks.push(features);
  }

  /** Takes of [n, dimension] features those that have a label from 0 on. */
  addLabelled(features: Float32Array<ArrayBuffer>, labels: readonly number[]): void {
    const rows = [...labels.keys()].filter((row) => labels[row] >= 0);
    if (rows.length === labels.length) return this.add(features, labels);
    const kept = new Float32Array(rows.length * this.dimension);
    for (const [i, row] of rows.entries()) {
      kept.set(features.subarray(row * this.dimension, (row + 1) * this.dimension), i * this.dimension);
    }
    this.add(kept, rows.map((row) => labels[row]));
  }

  /** The feature of a row. */
  feature(row: number): Float32Array<ArrayBuffer> {
    const chunk = this.#chunkOf[row];
    const at = (row - this.#starts[chunk]) * this.dimension;
    return this.chunks[chunk].subarray(at, at + this.dimension);
  }

  /** Gives the chunks away, one by one: what has been taken is not kept here. The labels stay. */
  *takeChunks(): Generator<Float32Array<ArrayBuffer>, void> {
    this.chunks.reverse(); // the first one can be taken from the end
    for (let chunk; (chunk = this.chunks.pop()) !== undefined;) yield chunk;
  }

  /** All features in one array. */
  concatenate(): Float32Array<ArrayBuffer> {
    const all = new Float32Array(this.labels.length * this.dimension);
    let at = 0;
    for (const chunk of this.chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    return all;
  }
}
