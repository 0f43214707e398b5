/** Where a run keeps decoded images: in memory, in a file, or nowhere. All of its readers share it. */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { cacheFileOf } from "../data/cache_choice.ts";
import type { Dataset } from "../data/dataset.ts";
import type { DecodeOptions } from "../data/decode.ts";
import { describeBytes } from "../data/describe_bytes.ts";
import { estimateDecodedBytes } from "../data/decoded_size.ts";
import { fingerprintDataset } from "../data/fingerprint.ts";
import { type ImageCacheHandle, makeMemoryCache } from "../data/image_cache.ts";
import { followCacheFile, openCacheFile } from "../data/image_cache_file.ts";
import { openDataset } from "../data/open_dataset.ts";
import { loadSharp } from "../data/sharp.ts";
import { type SystemMemory, systemMemory } from "../data/system_memory.ts";
import { TsvFile } from "../data/tsv.ts";
import type { Emit, NoticeEvent } from "./events.ts";
import type { RankSettings } from "./ranks/ranks.ts";

/** The share of the machine's memory that `auto` takes at most. */
const AUTO_SHARE = 1 / 10;

/** The share of the free memory that is taken at most. */
const FREE_SHARE = 1 / 2;

/** More than the estimate: it is by some images alone. */
const MARGIN = 1.25;

/** What the caches of a run are for. */
export interface ImageCacheOptions {
  /** `auto`, `memory`, `off`, or the path of a file, for the first of the data. */
  cache: string;
  /** Paths of the data, for `openDataset`: that which is read the most often first. */
  data: readonly string[];
  /** Whether the first is what is learned from, the only data that a file is for. Default: true. */
  learns?: boolean;
  /** Numbers of the rows of the first of the data that are read; all where it is left out. */
  rows?: Uint32Array;
  /** Whether an image is read once only, so that memory is of no use. */
  isReadOnce?: boolean;
  /** Pixels that an image may have; a larger one counts as broken. */
  maxPixels?: number;
  /** JPEGs whose shorter side stays so long, in pixels, are decoded at a fraction of their size; none where it is left out. */
  leastSide?: number;
  /** How much memory there is; asked of the system where it is left out. */
  memory?: SystemMemory;
  /** Where the run has several processes: those on a machine share its memory, and the first of all writes the file. */
  ranks?: Pick<RankSettings, "rank" | "size" | "onMachine">;
}

/** The caches of a run; disposed of at its end. */
export class ImageCaches implements Disposable {
  readonly #handles = new Map<string, ImageCacheHandle>();
  readonly #files = new DisposableStack();
  readonly #limit: number | undefined;
  readonly #ranks: ImageCacheOptions["ranks"];
  /** Bytes of memory that are not given away. */
  #free: number;
  /** What is kept where, and what is not kept. */
  readonly #kept: string[] = [];
  readonly #left: string[] = [];

  private constructor({ cache, memory = systemMemory(), ranks }: ImageCacheOptions) {
    this.#ranks = ranks;
    const { onMachine: processes = 1 } = ranks ?? {};
    const free = memory && memory.available * FREE_SHARE / processes;
    this.#limit = cache === "memory"
      ? free ?? Infinity
      : memory && Math.min(memory.total * AUTO_SHARE / processes, free!);
    this.#free = this.#limit ?? 0;
  }

  /**
   * Makes them, as far as there is room.
   *
   * @throws {UserError} where the file cannot be used
   */
  static async open(options: ImageCacheOptions, emit: Emit<NoticeEvent> = () => {}): Promise<ImageCaches> {
    const { cache, data, learns = true, rows, isReadOnce = false, maxPixels, leastSide } = options;
    const caches = new ImageCaches(options);
    const path = cacheFileOf(cache);
    using files = new DisposableStack();
    for (const [i, name] of [...new Set(data)].entries()) {
      const isInFile = path !== undefined && i === 0 && learns;
      if (cache === "off" || (isReadOnce && !isInFile)) continue;
      using dataset = await openDataset(name);
      if (isInFile) files.use((await caches.#useFile(path, dataset, { maxPixels, leastSide }, emit)) ?? null);
      else {
        const kept = { maxPixels, leastSide, ...i === 0 && { rows } };
        caches.#useMemory(dataset, await estimateDecodedBytes(dataset, kept), cache === "memory");
      }
    }
    caches.#files.use(files.move());
    if (path !== undefined && !learns) caches.#left.push(`${path} is for images to learn from`);
    if (isReadOnce && cache !== "off") caches.#left.push("each image is read once");
    return caches;
  }

  /** Where images are kept, for people. */
  get description(): string {
    const left = this.#left.join("; ");
    return this.#kept.length > 0
      ? [...this.#kept, ...this.#left].join("; ")
      : left === ""
      ? "off"
      : `off: ${left}`;
  }

  /** That of some data; `undefined` where it has none. */
  of(data: string): ImageCacheHandle | undefined {
    return this.#handles.get(data);
  }

  /** Lets go of the file. Workers that have it open may go on. */
  [Symbol.dispose](): void {
    this.#files.dispose();
  }

  async #useFile(
    path: string,
    dataset: Dataset,
    decoding: DecodeOptions,
    emit: Emit<NoticeEvent>,
  ): Promise<Disposable | undefined> {
    const { rank, size } = this.#ranks ?? { rank: 0, size: 1 };
    const open = rank === 0 ? openCacheFile : followCacheFile;
    const file = await open(path, dataset.rowCount, await identify(dataset, decoding));
    if (file === undefined) {
      this.#left.push(`${path} is not there`);
      const text =
        `${path}: expected the file of decoded images that rank 0 makes, but it is not there. Images are ` +
        "decoded in every epoch on this rank";
      return void emit({ type: "warning", text });
    }
    const note = (text: string) => emit({ type: "note", text });
    if (file.isRebuilt) {
      note(`${path} had decoded images of other data, or of another version of it: it is made anew`);
    }
    if (!file.isWriter && rank === 0) {
      note(`${path} is written by another run, or cannot be: its images are used, and none is added`);
    }
    this.#handles.set(dataset.path, file.handle);
    const others = size > 1 && file.isWriter ? `; of ${size} ranks the first adds its own` : "";
    this.#kept.push(`${path}, with ${file.found} of ${dataset.rowCount} images${others}`);
    return file;
  }

  /** @param isPartial whether some of the images are better than none */
  #useMemory(dataset: Dataset, bytes: number, isPartial: boolean): void {
    const name = basename(dataset.path);
    if (bytes === 0) return void this.#left.push(`${name} has nothing to decode`);
    if (this.#limit === undefined) {
      return void this.#left.push(
        "the size of the memory may not be asked for (--allow-sys=systemMemoryInfo)",
      );
    }
    if (this.#free === 0 && isPartial) return void this.#left.push(`no memory is left for ${name}`);
    const fits = bytes <= this.#free;
    if (!fits && !isPartial) {
      return void this.#left.push(
        `${name} would take ${describeBytes(bytes)}, and ${describeBytes(this.#free)} may be used ` +
          "(--cache memory takes more, --cache FILE a disk)",
      );
    }
    const most = Math.min(this.#free, bytes * MARGIN);
    this.#free -= most;
    this.#handles.set(dataset.path, makeMemoryCache(dataset.rowCount, most));
    this.#kept.push(`${describeBytes(Math.min(most, bytes))} of memory for ${fits ? "" : "part of "}${name}`);
  }
}

/** SHA-256 of all that the pixels and labels of some data follow from. */
async function identify(dataset: Dataset, { maxPixels, leastSide }: DecodeOptions): Promise<string> {
  const { versions } = await loadSharp();
  const hash = createHash("sha256").update(await fingerprintDataset(dataset));
  for await (const lines of dataset.describeFiles()) hash.update(`\n${lines}`);
  const parts = [
    JSON.stringify(versions),
    // A folder that is empty changes the numbers of the classes behind it, and no file. The labels of a TSV file are in it.
    ...dataset instanceof TsvFile || dataset.classNames === undefined
      ? []
      : [JSON.stringify(dataset.classNames)],
    // What is made smaller does not tell how large it was.
    ...leastSide === undefined ? [] : [`sides from ${leastSide}, of ${maxPixels} pixels at most`],
  ];
  for (const part of parts) hash.update(`\n${part}`);
  return hash.digest("hex");
}
