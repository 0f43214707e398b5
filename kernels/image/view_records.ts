/** Turns view parameters into the records that the kernels read: the structs at the head of their WGSL. */
import { f32 } from "../wgsl.ts";
import { blurWeights } from "./blur_weights.ts";
import type { JitterOp, ViewParameters } from "./view_parameters.ts";

/** Words of a `ResizeRecord`. */
export const RESIZE_RECORD_WORDS = 12;
/** Words of a `BlendRecord`. */
export const BLEND_RECORD_WORDS = 8;
/** Words of a `HueRecord`. */
export const HUE_RECORD_WORDS = 4;
/** Words of a `BlurRecord`. */
export const BLUR_RECORD_WORDS = 4;

/** Where the kernels of the resize find what they need: the fields of `ResizeRecord`. */
export interface ResizePlacement {
  /** Word (a pixel is one) of the bound part of the source. */
  readonly sourceOffset: number;
  /** Pixels in a row of the source. */
  readonly sourceWidth: number;
  /** Needed rows of the source. */
  readonly rowCount: number;
  /** Word of the buffer between the passes. */
  readonly rowOffset: number;
  /** Word of the tables where the horizontal axis begins. */
  readonly columnTable: number;
  /** Weights of that per output pixel. */
  readonly columnTaps: number;
  /** Word of the tables where the vertical axis begins. */
  readonly rowTable: number;
  /** Weights of that per output pixel. */
  readonly rowTaps: number;
}

/** What an image is blended with, as `BlendRecord.degenerate` has it. */
const DEGENERATES = { brightness: 0, saturation: 1, contrast: 2 };

/** One pass over the colours of a view. */
export type ColourOp =
  | { kernel: "blend"; degenerate: number; factor: number }
  | { kernel: "hue"; shift: number };

/** A blend with each pixel's luma that leaves nothing of its colours. */
const GRAYSCALE: ColourOp = { kernel: "blend", degenerate: DEGENERATES.saturation, factor: 0 };

function colourOp({ kind, factor }: JitterOp): ColourOp {
  return kind === "hue"
    // torchvision's adjust_hue: np.uint8(hue_factor * 255), which truncates and wraps
    ? { kernel: "hue", shift: Math.trunc(factor * 255) & 255 }
    : { kernel: "blend", degenerate: DEGENERATES[kind], factor };
}

/** What is done to the colours of a view, in its order. */
export function colourOpsOf({ jitter, grayscale, grayscaleFirst }: ViewParameters): ColourOp[] {
  const ops = jitter.map(colourOp);
  if (!grayscale) return ops;
  return grayscaleFirst ? [GRAYSCALE, ...ops] : [...ops, GRAYSCALE];
}

/** 1 where an op, which comes next, needs the mean luma of the view as it is before. */
function wantsMean(next: ColourOp | undefined): number {
  return next?.kernel === "blend" && next.degenerate === DEGENERATES.contrast ? 1 : 0;
}

/** Writes a `ResizeRecord` at word `base`; `index` is the view's place in the output. */
export function writeResizeRecord(
  words: Uint32Array,
  base: number,
  view: ViewParameters,
  index: number,
  at: ResizePlacement,
): void {
  words[base] = at.sourceOffset;
  words[base + 1] = at.sourceWidth;
  words[base + 2] = at.rowCount;
  words[base + 3] = at.rowOffset;
  words[base + 4] = at.columnTable;
  words[base + 5] = at.columnTaps;
  words[base + 6] = at.rowTable;
  words[base + 7] = at.rowTaps;
  words[base + 8] = index;
  words[base + 9] = wantsMean(colourOpsOf(view)[0]);
}

/** Writes the `BlendRecord` or `HueRecord` of an op at word `base`; `next` is the op that follows it. */
export function writeColourRecord(
  words: Uint32Array,
  base: number,
  op: ColourOp,
  next: ColourOp | undefined,
  index: number,
): void {
  if (op.kernel === "hue") {
    words.set([op.shift, index, wantsMean(next), 0], base);
  } else {
    words.set([f32(op.factor), op.degenerate, index, wantsMean(next), 0, 0, 0, 0], base);
  }
}

/** Writes a `BlurRecord` at word `base`. @throws {BlurSigmaError} */
export function writeBlurRecord(words: Uint32Array, base: number, view: ViewParameters, index: number): void {
  words.set(blurWeights(view.blurSigma), base);
  words[base + 3] = index;
}
