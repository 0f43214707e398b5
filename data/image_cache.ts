/**
 * Decoded images, shared by the reader Workers of a run: what one has decoded, none decodes again. Pixels are RGB8, in
 * shared memory or in a file.
 */
import type { UnwrittenImage } from "./decode.ts";
import { CacheFile, type CacheFileHandle } from "./image_cache_file.ts";
import { type CachedRow, CacheTable, rgbBytes, UNIT, unitsOf } from "./image_cache_table.ts";
import { expandRgb, reduceToRgb } from "./rgb.ts";

/** Bytes that memory grows by, at least; pages that nothing is written to cost nothing. */
const STEP = 64 * 2 ** 20;

/** A cache, as it is sent to Workers: all see the same. */
export interface ImageCacheHandle {
  /** What is there of which row. */
  table: SharedArrayBuffer;
  /** Where the pixels are: growable memory, or a file. */
  pixels: SharedArrayBuffer | CacheFileHandle;
}

/** A decoded image, and of which row it is. */
export type CachedImage = UnwrittenImage & Pick<CachedRow, "row" | "label">;

/** Where the pixels of a cache are. */
interface PixelStore extends Disposable {
  /** Whether this run may write. */
  readonly isWriter: boolean;
  /** Units that there is room for. */
  readonly units: number;
  /** Reads the RGB8 of a row; `undefined` where it is not what was written. */
  read(row: CachedRow): Uint8Array | undefined;
  /** Writes a row, and returns its checksum; throws where there is no room. */
  write(row: CachedRow, words: Uint32Array): number;
  /** Looks whether another run has written a row. */
  find(row: number): CachedRow | undefined;
}

/**
 * Makes a cache in memory, which takes next to none before something is written to it.
 *
 * @param rows of the data
 * @param bytes that it may grow to
 */
export function makeMemoryCache(rows: number, bytes: number): ImageCacheHandle {
  const maxByteLength = UNIT * Math.floor(bytes / UNIT);
  return { table: CacheTable.allocate(rows), pixels: new SharedArrayBuffer(0, { maxByteLength }) };
}

/** Pixels in memory. */
class MemoryPixels implements PixelStore {
  readonly isWriter = true;
  readonly units: number;
  readonly #pixels: SharedArrayBuffer;

  constructor(pixels: SharedArrayBuffer) {
    this.#pixels = pixels;
    this.units = pixels.maxByteLength / UNIT;
  }

  read(row: CachedRow): Uint8Array {
    return new Uint8Array(this.#pixels, row.place * UNIT, rgbBytes(row));
  }

  write(row: CachedRow, words: Uint32Array): number {
    this.#growTo((row.place + unitsOf(row)) * UNIT);
    reduceToRgb(this.read(row), words);
    return 0;
  }

  find(): undefined {}

  #growTo(bytes: number): void {
    const { maxByteLength } = this.#pixels;
    while (this.#pixels.byteLength < bytes) {
      const { byteLength } = this.#pixels;
      try {
        this.#pixels.grow(Math.min(maxByteLength, Math.max(bytes, byteLength + STEP)));
      } catch (error) {
        if (this.#pixels.byteLength === byteLength) throw error; // else another reader was faster
      }
    }
  }

  [Symbol.dispose](): void {}
}

/** A cache, open in one Worker. */
export class ImageCache implements Disposable {
  readonly #table: CacheTable;
  readonly #store: PixelStore;
  readonly #onProblem: (reason: string) => void;

  private constructor(table: SharedArrayBuffer, store: PixelStore, onProblem: (reason: string) => void) {
    this.#table = new CacheTable(table);
    this.#store = store;
    this.#onProblem = onProblem;
  }

  /**
   * Opens a cache.
   *
   * @param onProblem told why nothing can be read, or, in one Worker, why no more rows are taken
   * @returns `undefined` where nothing can be read
   */
  static open(
    { table, pixels }: ImageCacheHandle,
    onProblem: (reason: string) => void,
  ): ImageCache | undefined {
    const store = pixels instanceof SharedArrayBuffer
      ? new MemoryPixels(pixels)
      : CacheFile.open(pixels, onProblem);
    return store && new ImageCache(table, store, onProblem);
  }

  /**
   * Returns an image, whose pixels are written where they are wanted; `undefined` where it is not there.
   *
   * @param maxPixels an image of more pixels is not given
   */
  get(row: number, maxPixels: number = Infinity): CachedImage | undefined {
    const found = this.#table.get(row) ?? this.#findElsewhere(row);
    if (found === undefined || found.width * found.height > maxPixels) return undefined;
    const rgb = this.#store.read(found);
    if (rgb === undefined) {
      this.#table.forget(row); // to be written again
      return undefined;
    }
    const { width, height, label } = found;
    return { width, height, row, label, writeTo: (words) => expandRgb(words, rgb) };
  }

  /**
   * Keeps an image, unless it is there or there is no room.
   *
   * @param words RGBA8 [height, width], a word each pixel; alpha is 255
   */
  put({ row, label, width, height }: Omit<CachedImage, "writeTo">, words: Uint32Array): void {
    if (!this.#store.isWriter || !this.#table.isOpen || this.#table.has(row)) return;
    const place = this.#table.reserve(unitsOf({ width, height }), this.#store.units);
    if (place === undefined) return this.#close("there is no room for more");
    const kept: CachedRow = { row, width, height, label, place, checksum: 0 };
    try {
      kept.checksum = this.#store.write(kept, words);
    } catch (error) {
      return this.#close((error as Error).message);
    }
    this.#table.publish(kept);
  }

  /** Closes what this Worker has open. */
  [Symbol.dispose](): void {
    this.#store[Symbol.dispose]();
  }

  #findElsewhere(row: number): CachedRow | undefined {
    const found = this.#store.find(row);
    if (found !== undefined) this.#table.publish(found);
    return found;
  }

  #close(reason: string): void {
    if (!this.#table.close()) return;
    const { rows, kept } = this.#table.count();
    this.#onProblem(
      `${kept} of ${rows} images are kept decoded, and the others are decoded in every epoch: ${reason}`,
    );
  }
}
