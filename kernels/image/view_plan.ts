/**
 * Plans a batch for the augmenter's kernels: checks the parameters, makes the filter tables, lays out the memory
 * between the passes, and writes the records. Pure host work; the arrays are kept from batch to batch.
 */
import { UserError } from "../../errors.ts";
import { filterProblem, type ResizeAxis, resizeTableLength, writeResizeTable } from "./resize_table.ts";
import type { JitterOp, ViewParameters } from "./view_parameters.ts";
import {
  BLEND_RECORD_WORDS,
  BLUR_RECORD_WORDS,
  type ColourOp,
  colourOpsOf,
  HUE_RECORD_WORDS,
  RESIZE_RECORD_WORDS,
  type ResizePlacement,
  writeBlurRecord,
  writeColourRecord,
  writeResizeRecord,
} from "./view_records.ts";

/** Where images of any sizes lie in one buffer. */
export interface ImageLayout {
  /** How many images there are. */
  readonly count: number;
  /** [count, n]; the first three of an image's n words are the index of its first pixel, its width, its height. */
  readonly table: Uint32Array;
  /** RGBA8, row by row; the alpha is ignored. */
  readonly pixels: { readonly byteLength: number };
}

/** Images of any sizes in one buffer; data/pack.ts `PackedImages` is one. */
export interface ImageBatch extends ImageLayout {
  /** RGBA8, row by row; the alpha is ignored. */
  readonly pixels: Uint8Array<ArrayBuffer>;
}

/** An image that does not fit what the device can bind. */
export class ImageTooLargeError extends UserError {
  /** For whoever prints it. */
  override name = "ImageTooLargeError";
}

/** Views of a batch, or a single one, that do not fit what the device can bind or the kernels count. */
export class ViewsTooLargeError extends UserError {
  /** For whoever prints it. */
  override name = "ViewsTooLargeError";

  /** @param found how large they are, and what is expected */
  constructor(found: string) {
    super(`${found}; use a smaller --batch-size, --image-size, --teacher-size or --small-size`);
  }
}

/** Pixels that a view may have: twice the sum of their luma, and their number, must fit 32 bits (blend.wgsl). */
export const MAX_VIEW_PIXELS: number = Math.floor((2 ** 32 - 1) / (2 * 255 + 1));

/** The longest side of a square view that can be made, in pixels. */
export const MAX_VIEW_SIDE: number = Math.floor(Math.sqrt(MAX_VIEW_PIXELS));

/** Bytes of records that one dispatch has: the largest uniform binding that every device has. */
export const RECORD_BYTES = 65536;
/** Records of so many words that one dispatch has at most. */
const recordsOf = (words: number) => Math.floor(RECORD_BYTES / (words * 4));

/** The kernels that change colours, and the words of their records. */
const COLOUR_KERNELS = [["blend", BLEND_RECORD_WORDS], ["hue", HUE_RECORD_WORDS]] as const;

/** Dynamic offsets of bindings are 32-bit numbers, whatever a buffer holds. */
const MOST_BYTES = 2 ** 32;
/** Offsets of bindings are multiples of 256 bytes on every device. */
const ALIGNMENT_WORDS = 64;
/** Rows that an invocation of resize_horizontal.wgsl makes. */
const ROWS_PER_INVOCATION = 4;

/** One dispatch of a kernel over some records. */
export interface RecordSpan {
  /** Byte offset of the first record. */
  readonly offset: number;
  /** How many records follow it. */
  readonly count: number;
}

/** Views that are resized by one pair of dispatches: their sources lie in one binding, their rows in one buffer. */
export interface ResizeSpan extends RecordSpan {
  /** Byte offset of the source binding. */
  readonly source: number;
  /** Invocations of the horizontal pass that the largest view of the span needs. */
  readonly invocations: number;
}

/** Views whose colours one dispatch changes. */
export interface ColourSpan extends RecordSpan {
  /** What it does to them. */
  readonly kernel: ColourOp["kernel"];
}

/** What the augmenter needs to encode a batch. */
export interface ViewPlan {
  /** Filter tables; valid until the next plan. */
  readonly tables: Int32Array<ArrayBuffer>;
  /** Records of all kernels; valid until the next plan. */
  readonly records: Uint32Array<ArrayBuffer>;
  /** Words that the buffer between the passes must have. */
  readonly rowWords: number;
  /** Dispatches of both resize kernels. */
  readonly resize: readonly ResizeSpan[];
  /** Dispatches of blend.wgsl and hue.wgsl, in their order. */
  readonly colour: readonly ColourSpan[];
  /** Dispatches of blur.wgsl, each along rows and then along columns. */
  readonly blur: readonly RecordSpan[];
}

/** Sizes that a plan has to keep to. */
export interface PlanLimits {
  /** Of a view, in pixels. */
  readonly width: number;
  /** Of a view, in pixels. */
  readonly height: number;
  /** Words of the source buffer. */
  readonly sourceWords: number;
  /** Words of one storage binding. */
  readonly bindingWords: number;
}

interface Extent {
  readonly offset: number;
  readonly width: number;
  readonly height: number;
}

/** A view with the part of the source that it needs, in words. */
interface PlacedView {
  readonly index: number;
  readonly start: number;
  readonly end: number;
  readonly placement: Omit<ResizePlacement, "rowOffset" | "sourceOffset">;
}

function imageExtent({ count, table }: ImageLayout, image: number, view: number): Extent {
  if (!(Number.isInteger(image) && image >= 0 && image < count)) {
    throw new RangeError(
      `view ${view} is of image ${image}, but the batch has ${count} images`,
    );
  }
  const row = image * (table.length / count);
  return { offset: table[row], width: table[row + 1], height: table[row + 2] };
}

/** Words from the buffer's start to the end of the last image that a view is made of. */
export function usedSourceWords(images: ImageLayout, views: readonly ViewParameters[]): number {
  let used = 0;
  views.forEach((view, index) => {
    const { offset, width, height } = imageExtent(images, view.image, index);
    used = Math.max(used, offset + width * height);
  });
  if (used * 4 > images.pixels.byteLength) {
    throw new RangeError(
      `the table's images end at byte ${used * 4}, but there are ${images.pixels.byteLength} bytes of pixels`,
    );
  }
  return used;
}

/** Some views of a batch, and the images that they are made of. */
export interface SourcePart {
  readonly images: ImageBatch;
  /** Numbers of the views. */
  readonly views: readonly number[];
}

/**
 * Divides a batch so that the images of each part take so many words at most.
 *
 * @throws {ImageTooLargeError} where one image alone takes more
 */
export function sourceParts(
  images: ImageBatch,
  views: readonly ViewParameters[],
  words: number,
): SourcePart[] {
  const extents = views.map((view, index) => imageExtent(images, view.image, index));
  const order = [...views.keys()].sort((a, b) => extents[a].offset - extents[b].offset);
  const fields = images.table.length / images.count;
  const parts: SourcePart[] = [];
  for (let next = 0; next < order.length;) {
    const { offset: first } = extents[order[next]];
    const members: number[] = [];
    let end = first;
    for (; next < order.length; next++) {
      const { offset, width, height } = extents[order[next]];
      if (offset + width * height - first > words) break;
      end = Math.max(end, offset + width * height);
      members.push(order[next]);
    }
    if (members.length === 0) {
      const { width, height } = extents[order[next]];
      throw new ImageTooLargeError(
        `an image of ${width}x${height} pixels takes more than the ${
          words * 4
        } bytes that this device holds at once; ` +
          "make it smaller beforehand",
      );
    }
    // Images of other parts lie elsewhere; no view of this part is of them.
    const table = images.table.map((value, i) => i % fields === 0 ? value - first : value);
    parts.push({
      images: { count: images.count, table, pixels: images.pixels.subarray(first * 4, end * 4) },
      views: members,
    });
  }
  return parts;
}

function checkView(view: ViewParameters, index: number, image: Extent): void {
  const { crop, resized, window, jitter } = view;
  const fail = (what: string) => {
    throw new RangeError(`view ${index}: ${what}`);
  };
  const whole = [
    crop.left,
    crop.top,
    crop.width,
    crop.height,
    resized.width,
    resized.height,
    window.left,
    window.top,
  ];
  if (!whole.every(Number.isSafeInteger)) fail("crop, resized and window must be integers");
  if (
    crop.width < 1 || crop.height < 1 || crop.left < 0 || crop.top < 0 ||
    crop.left + crop.width > image.width || crop.top + crop.height > image.height
  ) {
    fail(
      `the crop ${crop.width}x${crop.height} at (${crop.left}, ${crop.top}) is not inside its image ` +
        `(${image.width}x${image.height})`,
    );
  }
  if (resized.width < 1 || resized.height < 1) fail("a crop cannot be resized to nothing");
  const problem = filterProblem(view.filter);
  if (problem !== undefined) fail(problem);
  if (!(view.blurSigma >= 0)) fail(`the blur's standard deviation is ${view.blurSigma}; expected at least 0`);
  const kinds = new Set<JitterOp["kind"]>();
  for (const { kind, factor } of jitter) {
    if (kinds.has(kind)) fail(`${kind} is in the jitter twice`);
    kinds.add(kind);
    const valid = kind === "hue" ? Math.abs(factor) <= 0.5 : factor >= 0 && Number.isFinite(factor);
    if (!valid) fail(`${kind} has factor ${factor}; hue's is in [-0.5, 0.5], the others' at least 0`);
  }
}

/** Pixels that an image may have so that all of it fits a binding of so many bytes, wherever in a batch it begins. */
export function maxImagePixels(bindingBytes: number): number {
  return Math.floor(bindingBytes / 4) - ALIGNMENT_WORDS;
}

/** Makes plans, one at a time. */
export class ViewPlanner {
  #tables = new Int32Array(0);
  #records = new Uint32Array(0);

  /**
   * Plans a batch.
   *
   * @throws {RangeError} where a view's parameters and its image do not fit, or a factor is out of range
   * @throws {BlurSigmaError} where a blur is too wide
   * @throws {ImageTooLargeError} where a crop box does not fit one binding
   */
  plan(images: ImageLayout, views: readonly ViewParameters[], limits: PlanLimits): ViewPlan {
    const { order, tableWords } = this.#place(images, views, limits);
    const resize = this.#resizeSpans(order, views, limits);
    const colour = this.#colourSpans(views, resize.recordWords);
    const blurs = views.flatMap((view, index) => view.blurSigma > 0 ? [index] : []);
    const blur = align(colour.end);
    const end = blur + blurs.length * BLUR_RECORD_WORDS;
    const records = this.#reserveRecords(end);
    blurs.forEach((view, i) => writeBlurRecord(records, blur + i * BLUR_RECORD_WORDS, views[view], view));
    return {
      tables: this.#tables.subarray(0, tableWords),
      records: records.subarray(0, end),
      rowWords: Math.max(resize.rowWords, blurs.length * limits.width * limits.height),
      resize: resize.spans,
      colour: colour.spans,
      blur: recordSpans(blur, blurs.length, BLUR_RECORD_WORDS),
    };
  }

  /** Writes the filter tables, which tell what part of its source each view needs. */
  #place(
    images: ImageLayout,
    views: readonly ViewParameters[],
    { width, height, bindingWords }: PlanLimits,
  ): { order: PlacedView[]; tableWords: number } {
    const axes = views.map((view, index) => {
      checkView(view, index, imageExtent(images, view.image, index));
      return axesOf(view, width, height);
    });
    const tableWords = axes.reduce((sum, { x, y }) => sum + resizeTableLength(x) + resizeTableLength(y), 0);
    if (tableWords > bindingWords) {
      throw new ImageTooLargeError(
        `the filter tables of ${views.length} views need ${
          tableWords * 4
        } bytes, but this device binds at most ` +
          `${bindingWords * 4}; make the batch smaller`,
      );
    }
    if (this.#tables.length < tableWords) this.#tables = new Int32Array(grown(tableWords));
    let base = 0;
    const placed = views.map((view, index): PlacedView => {
      const { offset, width: pitch } = imageExtent(images, view.image, index);
      const { x, y } = axes[index];
      const columnTable = base;
      const rowTable = columnTable + resizeTableLength(x);
      base = rowTable + resizeTableLength(y);
      const columns = writeResizeTable(this.#tables, columnTable, x);
      const rows = writeResizeTable(this.#tables, rowTable, y);
      const start = offset + (view.crop.top + rows.first) * pitch + view.crop.left + columns.first;
      return {
        index,
        start,
        end: start + Math.max(rows.end - rows.first - 1, 0) * pitch + columns.end - columns.first,
        placement: {
          sourceWidth: pitch,
          rowCount: rows.end - rows.first,
          columnTable,
          columnTaps: columns.taps,
          rowTable,
          rowTaps: rows.taps,
        },
      };
    });
    const order = placed.toSorted((a, b) => a.start - b.start || a.index - b.index);
    return { order, tableWords };
  }

  /** Groups the views so that each group's sources fit one binding, its rows one buffer, its records one binding. */
  #resizeSpans(
    order: readonly PlacedView[],
    views: readonly ViewParameters[],
    { width, sourceWords, bindingWords }: PlanLimits,
  ): { spans: ResizeSpan[]; rowWords: number; recordWords: number } {
    const sourceBinding = Math.min(bindingWords, sourceWords);
    const pitch = Math.ceil(width / 4) * 4; // rows are read four pixels at a time
    const spans: ResizeSpan[] = [];
    let rowWords = 0;
    let record = 0; // in words
    for (let next = 0; next < order.length;) {
      record = align(record);
      const offset = record;
      const source = Math.min(floorToAlignment(order[next].start), sourceWords - sourceBinding);
      let rows = 0;
      let count = 0;
      let invocations = 0;
      for (; next < order.length && count < recordsOf(RESIZE_RECORD_WORDS); next++, count++) {
        const view = order[next];
        const words = view.placement.rowCount * pitch;
        if (view.end - source > sourceBinding || rows + words > bindingWords) break;
        const records = this.#reserveRecords(record + RESIZE_RECORD_WORDS);
        writeResizeRecord(records, record, views[view.index], view.index, {
          ...view.placement,
          sourceOffset: view.start - source,
          rowOffset: rows,
        });
        record += RESIZE_RECORD_WORDS;
        rows += words;
        invocations = Math.max(invocations, Math.ceil(view.placement.rowCount / ROWS_PER_INVOCATION) * width);
      }
      if (count === 0) throw tooLarge(views[order[next].index], order[next], bindingWords);
      rowWords = Math.max(rowWords, rows);
      spans.push({ offset: offset * 4, count, source: source * 4, invocations });
    }
    return { spans, rowWords, recordWords: record };
  }

  /** First what every view begins with, then what comes second, and so on; records begin at word `base`. */
  #colourSpans(views: readonly ViewParameters[], base: number): { spans: ColourSpan[]; end: number } {
    const ops = views.map(colourOpsOf);
    const spans: ColourSpan[] = [];
    let end = base;
    for (let step = 0; ops.some(({ length }) => length > step); step++) {
      for (const [kernel, words] of COLOUR_KERNELS) {
        const members = ops.flatMap((own, view) => own[step]?.kernel === kernel ? [view] : []);
        const first = align(end);
        end = first + members.length * words;
        const records = this.#reserveRecords(end);
        members.forEach((view, i) =>
          writeColourRecord(records, first + i * words, ops[view][step], ops[view][step + 1], view)
        );
        spans.push(...recordSpans(first, members.length, words).map((span) => ({ kernel, ...span })));
      }
    }
    return { spans, end };
  }

  #reserveRecords(words: number): Uint32Array<ArrayBuffer> {
    if (this.#records.length < words) {
      const larger = new Uint32Array(grown(words));
      larger.set(this.#records);
      this.#records = larger;
    }
    return this.#records;
  }
}

function axesOf(view: ViewParameters, width: number, height: number): { x: ResizeAxis; y: ResizeAxis } {
  const { crop, resized, window, filter, flip } = view;
  return {
    x: {
      source: crop.width,
      resized: resized.width,
      window: window.left,
      size: width,
      filter,
      mirrored: flip,
    },
    y: {
      source: crop.height,
      resized: resized.height,
      window: window.top,
      size: height,
      filter,
      mirrored: false,
    },
  };
}

function recordSpans(base: number, count: number, words: number): RecordSpan[] {
  const limit = recordsOf(words);
  const spans: RecordSpan[] = [];
  for (let done = 0; done < count; done += limit) {
    spans.push({ offset: (base + done * words) * 4, count: Math.min(count - done, limit) });
  }
  return spans;
}

function tooLarge(
  view: ViewParameters,
  { start, end }: PlacedView,
  bindingWords: number,
): ImageTooLargeError {
  const { width, height } = view.crop;
  return new ImageTooLargeError(
    `a crop of ${width}x${height} pixels of image ${view.image} of the batch spans ${
      (end - start) * 4
    } bytes, ` +
      `but this device binds at most ${bindingWords * 4} bytes at once; make the image smaller beforehand`,
  );
}

/** Words of a source buffer that may take so many bytes: at most as many as dynamic offsets reach. */
export function sourceWordsOf(bytes: number): number {
  return floorToAlignment(Math.min(bytes, MOST_BYTES) / 4);
}

/** Offsets of bindings are multiples of it. */
function floorToAlignment(words: number): number {
  return Math.floor(words / ALIGNMENT_WORDS) * ALIGNMENT_WORDS;
}

function align(words: number): number {
  return Math.ceil(words / ALIGNMENT_WORDS) * ALIGNMENT_WORDS;
}

/** A capacity for what is needed now that does not have to grow for every slightly larger batch. */
export function grown(needed: number): number {
  return align(Math.ceil(needed * 1.25));
}
