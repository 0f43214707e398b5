/** From batch numbers to decoded images, with a policy for rows that are broken. */
import { UserError } from "../errors.ts";
import { BrokenRowError, type Dataset, type DatasetRow } from "./dataset.ts";
import {
  BrokenImageError,
  type DecodeOptions,
  decodeUnwritten,
  type Image,
  type UnwrittenImage,
} from "./decode.ts";
import type { ImageCache } from "./image_cache.ts";
import { batchTooLarge, MAX_PACKED_PIXELS } from "./pack.ts";
import type { EpochOrder } from "./sampler.ts";

/** Images that one reader decodes side by side; more gains nothing on two cores and only takes memory. */
const DECODES_AT_ONCE = 4;

/** A decoded image with where it came from. */
export type LabelledImage = (Image | UnwrittenImage) & {
  /** Row in the data, from 0. */
  row: number;
  /** An int32. */
  label: number;
};

/** What a `BatchReader` can be told. */
export interface BatchReaderOptions extends DecodeOptions {
  /**
   * `replace` (default) puts another row in place of a broken one, so that a training batch stays full; `skip` leaves
   * it out, so that an evaluation counts no image twice.
   */
  brokenRows?: "replace" | "skip";
  /** Rows that are in it are neither read nor decoded; those that are decoded go into it when they are packed. */
  cache?: ImageCache;
  /** Called for each broken row, the first time it is met. */
  onBrokenRow?(error: BrokenRowError): void;
}

/**
 * Reads and decodes the batches of an epoch.
 *
 * A broken row is replaced by the first good one among `EpochOrder.substitutes` that is not in the batch yet, or, where
 * the data has no other good row, by a good one of the same batch. Which one that is depends on the data, the seed and
 * the epoch, not on the Worker or on what it read before, nor on the number of shares: where a row of a share is broken, those of
 * the other shares are read too.
 */
export class BatchReader {
  #dataset: Dataset;
  #options: BatchReaderOptions;
  /** Rows that are known to be broken. */
  #broken = new Set<number>();
  /** Those of them that were told of. */
  #reported = new Set<number>();

  /** A reader of data that the caller opened and will close. */
  constructor(dataset: Dataset, options: BatchReaderOptions = {}) {
    this.#dataset = dataset;
    this.#options = options;
  }

  /**
   * Reads one batch; a few images at a time are decoded side by side, on sharp's threads.
   *
   * @returns images in the batch's order: all of them, or with `skip` the good ones
   * @throws UserError where a row is broken and no good row is found to replace it
   */
  async read(order: EpochOrder, batch: number): Promise<LabelledImage[]> {
    const own = order.batch(batch);
    const images = await this.#readAll(own);
    const good = images.filter((image) => image !== undefined);
    if (good.length === images.length || this.#options.brokenRows === "skip") return good;
    const others = order.rowsOfOthers(batch);
    const batchStart = batch * order.batchSize;
    const before = order.firstPlace(batch) - batchStart;
    const rows = [...others.subarray(0, before), ...own, ...others.subarray(before)];
    const known = new Map(good.map((image) => [image.row, image]));
    const isGood = new Set([...known.keys(), ...await this.#goodOf(others, own.length)]);
    const choices = rows.filter((row) => isGood.has(row));
    const taken = new Set(choices);
    const filled: LabelledImage[] = [];
    for (const [i, row] of rows.slice(0, before + own.length).entries()) {
      const isOwn = i >= before;
      if (isGood.has(row)) {
        if (isOwn) filled.push(known.get(row)!);
        continue;
      }
      const found = await this.#substitute(order, batchStart + i, taken, choices, isOwn);
      taken.add(found.row);
      if (!isOwn) continue;
      if (found.image !== undefined) known.set(found.row, found.image);
      else if (!known.has(found.row)) known.set(found.row, (await this.#readAll([found.row]))[0]!);
      filled.push(known.get(found.row)!);
    }
    return filled;
  }

  /** Those of the rows of other shares that are good, read a share at a time: not more images are in memory at once. */
  async #goodOf(rows: Uint32Array, atOnce: number): Promise<number[]> {
    const good: number[] = [];
    for (let first = 0; first < rows.length; first += atOnce) {
      const images = await this.#readAll(rows.subarray(first, first + atOnce), false);
      for (const image of images) if (image !== undefined) good.push(image.row);
    }
    return good;
  }

  /** @param reports whether broken rows are told of: those of others are not */
  async #readAll(rows: ArrayLike<number>, reports = true): Promise<(LabelledImage | undefined)[]> {
    const { cache, maxPixels } = this.#options;
    const images: (LabelledImage | undefined)[] = Array.from(rows, (row) => cache?.get(row, maxPixels));
    const missing = images.flatMap((image, i) => image === undefined ? [i] : []);
    const read = missing.length === 0 ? [] : await this.#dataset.readRows(missing.map((i) => rows[i]));
    const waiting = read.entries();
    let pixels = images.reduce(
      (sum, image) => sum + (image === undefined ? 0 : image.width * image.height),
      0,
    );
    const decodeWaiting = async () => {
      for (const [i, row] of waiting) {
        const image = images[missing[i]] = await this.#decode(row, reports);
        if (image !== undefined) pixels += image.width * image.height;
        // Before the rest of it is in memory too.
        if (pixels > MAX_PACKED_PIXELS) throw batchTooLarge(rows.length, 4 * pixels);
      }
    };
    if (read.length > 0) await Promise.all(Array.from({ length: DECODES_AT_ONCE }, decodeWaiting));
    return images;
  }

  /** @param choices good rows of the batch, to which the one that is found is added */
  async #substitute(
    order: EpochOrder,
    position: number,
    taken: ReadonlySet<number>,
    choices: number[],
    reports: boolean,
  ): Promise<{ row: number; image?: LabelledImage }> {
    for (const row of order.substitutes(position)) {
      if (taken.has(row) || this.#broken.has(row)) continue;
      const [image] = await this.#readAll([row], reports);
      if (image === undefined) continue;
      choices.push(row);
      return { row, image };
    }
    if (choices.length === 0) {
      throw new UserError(
        `${this.#dataset.path}: expected images, found none in the ${this.#broken.size} rows tried. ` +
          "See the messages about broken rows above.",
      );
    }
    return { row: choices[position % choices.length] };
  }

  async #decode(row: DatasetRow | BrokenRowError, reports: boolean): Promise<LabelledImage | undefined> {
    try {
      if (row instanceof BrokenRowError) throw row;
      return this.#kept({ ...await this.#decodeRow(row), row: row.row, label: row.label });
    } catch (error) {
      if (!(error instanceof BrokenRowError)) throw error;
      this.#broken.add(error.row);
      if (reports && !this.#reported.has(error.row)) {
        this.#reported.add(error.row);
        this.#options.onBrokenRow?.(error);
      }
      return undefined;
    }
  }

  /** An image that goes into the cache when it is packed. */
  #kept(image: LabelledImage): LabelledImage {
    const { cache } = this.#options;
    if (cache === undefined || !("writeTo" in image)) return image;
    return {
      ...image,
      writeTo(words) {
        image.writeTo(words);
        cache.put(image, words);
      },
    };
  }

  async #decodeRow({ row, image }: DatasetRow): Promise<Image | UnwrittenImage> {
    if (!(image instanceof Uint8Array)) return image;
    try {
      return await decodeUnwritten(image, this.#options);
    } catch (error) {
      if (!(error instanceof BrokenImageError)) throw error;
      throw this.#dataset.brokenRow(row, error.message);
    }
  }
}
