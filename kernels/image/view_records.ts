/** Turns view parameters into the records that the kernels read: the structs of records.wgsl. */
import { blurWeights } from "./blur_weights.ts";
import type { JitterOp, ViewParameters } from "./view_parameters.ts";

/** Words of a `ResizeRecord`. */
export const RESIZE_RECORD_WORDS = 24;
/** Words of a `ContrastRecord`. */
export const CONTRAST_RECORD_WORDS = 16;
/** Words of a `BlurRecord`. */
export const BLUR_RECORD_WORDS = 4;

const RESIZE_JITTER = 12;
const CONTRAST_JITTER = 4;

/** Values of `Jitter.grayscale`: when a kernel makes the view gray. */
const GRAYSCALE = { never: 0, last: 1, first: 2 };

/** `JitterOp`s that one kernel does in one go, and whether it is the one that makes the view gray. */
interface JitterPass {
  readonly ops: readonly JitterOp[];
  readonly grayscale: keyof typeof GRAYSCALE;
}

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

/** Values of `Jitter.degenerates`, and the hue shift that is none. */
const DEGENERATES = { brightness: 0, saturation: 1, contrast: 2 };
const NO_HUE = 256;

/** Whether the view needs the kernel that blends with its mean. */
export function hasContrast(view: ViewParameters): boolean {
  return view.jitter.some((op) => op.kind === "contrast");
}

/** Splits the jitter where contrast needs the mean of what came before. */
function splitJitter(view: ViewParameters): [before: JitterPass, after: JitterPass] {
  const contrast = view.jitter.findIndex((op) => op.kind === "contrast");
  const first = view.grayscale && view.grayscaleFirst ? "first" : "never";
  const last = view.grayscale && !view.grayscaleFirst ? "last" : "never";
  if (contrast < 0) {
    return [{ ops: view.jitter, grayscale: first === "first" ? first : last }, {
      ops: [],
      grayscale: "never",
    }];
  }
  return [
    { ops: view.jitter.slice(0, contrast), grayscale: first },
    { ops: view.jitter.slice(contrast), grayscale: last },
  ];
}

function writeJitter(words: Uint32Array, base: number, { ops, grayscale }: JitterPass): void {
  words.fill(0, base, base + 12);
  const factors = new Float32Array(words.buffer, words.byteOffset + base * 4, 3);
  const hue = ops.findIndex((op) => op.kind === "hue");
  const blends = ops.filter((op) => op.kind !== "hue");
  blends.forEach((op, i) => {
    factors[i] = op.factor;
    words[base + 4 + i] = DEGENERATES[op.kind as keyof typeof DEGENERATES];
  });
  words[base + 3] = blends.length;
  words[base + 7] = hue < 0 ? blends.length : hue;
  // torchvision's adjust_hue: np.uint8(hue_factor * 255), which truncates and wraps
  words[base + 8] = hue < 0 ? NO_HUE : Math.trunc(ops[hue].factor * 255) & 255;
  words[base + 9] = GRAYSCALE[grayscale];
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
  words[base + 9] = hasContrast(view) ? 1 : 0;
  writeJitter(words, base + RESIZE_JITTER, splitJitter(view)[0]);
}

/** Writes a `ContrastRecord` at word `base`. */
export function writeContrastRecord(
  words: Uint32Array,
  base: number,
  view: ViewParameters,
  index: number,
): void {
  words[base] = index;
  writeJitter(words, base + CONTRAST_JITTER, splitJitter(view)[1]);
}

/** Writes a `BlurRecord` at word `base`. @throws {BlurSigmaError} */
export function writeBlurRecord(words: Uint32Array, base: number, view: ViewParameters, index: number): void {
  words.set(blurWeights(view.blurSigma), base);
  words[base + 3] = index;
}
