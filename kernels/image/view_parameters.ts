/**
 * What is done to an image to make a view of it, and how those choices are drawn.
 *
 * Every function here is pure: the same numbers from the random source give the same parameters. Give each view a
 * stream of its own, e.g. `new Random(seed, "augment", epoch, row, view)`, and any Worker can make any view.
 */
import type { ResizeFilter } from "./resize_table.ts";

/** A box in whole pixels of an image. */
export interface Box {
  /** Pixels before it in a row. */
  readonly left: number;
  /** Rows above it. */
  readonly top: number;
  /** At least 1. */
  readonly width: number;
  /** At least 1. */
  readonly height: number;
}

/**
 * One piece of the colour jitter. Brightness, contrast and saturation blend with black, with the image's mean luma
 * and with each pixel's luma (factor 1 changes nothing, 0 gives those); hue turns the colours by `factor` of a full
 * circle, in [-0.5, 0.5].
 */
export interface JitterOp {
  /** What is changed. */
  readonly kind: "brightness" | "contrast" | "saturation" | "hue";
  /** By how much. */
  readonly factor: number;
}

/** All that makes a view of an image. The steps happen in the order of the fields. */
export interface ViewParameters {
  /** Row of the image in its batch. */
  readonly image: number;
  /** The part of the image that is used. */
  readonly crop: Box;
  /** What the crop is resized to, in pixels. */
  readonly resized: { readonly width: number; readonly height: number };
  /** Where in that the view begins, in pixels; what lies outside is black, as with torchvision's `CenterCrop`. */
  readonly window: { readonly left: number; readonly top: number };
  /** Filter of the resize. */
  readonly filter: ResizeFilter;
  /** In the order in which they are done; each kind at most once. */
  readonly jitter: readonly JitterOp[];
  /** Whether each pixel gets its luma in all three channels. */
  readonly grayscale: boolean;
  /** Whether that comes before the jitter, and not after it. */
  readonly grayscaleFirst?: boolean;
  /** Standard deviation of the Gaussian blur in pixels; 0 for none. */
  readonly blurSigma: number;
  /** Whether left and right change places. */
  readonly flip: boolean;
}

/** Closed interval of real numbers. */
export type Range = readonly [low: number, high: number];

/** torchvision's `ColorJitter` under `RandomApply`. A strength of 0 disables that part. */
export interface JitterRule {
  /** Probability that the jitter is applied. */
  readonly probability: number;
  /** Strength: the factor is uniform in [max(0, 1 - strength), 1 + strength]. */
  readonly brightness: number;
  /** Strength, as for brightness. */
  readonly contrast: number;
  /** Strength, as for brightness. */
  readonly saturation: number;
  /** Strength: the factor is uniform in [-strength, strength]; at most 0.5. */
  readonly hue: number;
}

/** Parameters of a random augmentation. SWAV's multi-crop is one augmentation for each size. */
export interface Augmentation {
  /** Pixels along each side of the view. */
  readonly size: number;
  /** Area of the crop, as a share of the image's area. */
  readonly scale: Range;
  /** Aspect ratio (width / height) of the crop. */
  readonly ratio: Range;
  /** Filter of the resize. */
  readonly filter: ResizeFilter;
  /** Jitter of brightness, contrast, saturation and hue. */
  readonly jitter: JitterRule;
  /** Probability of grayscale. */
  readonly grayscaleProbability: number;
  /** Whether grayscale is applied before the jitter. Default: after it. */
  readonly grayscaleFirst?: boolean;
  /** Probability of a Gaussian blur, and the range of its standard deviation, in pixels. */
  readonly blur: { readonly probability: number; readonly sigma: Range };
  /** Probability of a horizontal flip. */
  readonly flipProbability: number;
}

/** The random numbers that the samplers draw; data/random.ts `Random` is one. */
export interface ViewRandom {
  /** Uniform in [low, high), [0, 1) when not given. */
  uniform(low?: number, high?: number): number;
  /** A whole number in [low, high], both included. */
  integer(low: number, high: number): number;
  /** `true` with the given probability. */
  chance(probability: number): boolean;
  /** Shuffles in place and returns what it was given. */
  shuffle<T extends unknown[]>(items: T): T;
}

const PHOTO_RATIO: Range = [3 / 4, 4 / 3];

/** SEED's and MoCo v2's augmentation for training (moco `main_moco.py --aug-plus`). */
export function mocoV2Augmentation(size: number): Augmentation {
  return {
    size,
    scale: [0.2, 1],
    ratio: PHOTO_RATIO,
    filter: "bilinear",
    jitter: { probability: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
    grayscaleProbability: 0.2,
    blur: { probability: 0.5, sigma: [0.1, 2] },
    flipProbability: 0.5,
  };
}

/**
 * MoCo v1's augmentation (InstDisc), which the original uses for SimCLR's teachers and for students without an MLP head:
 * gray before the jitter, stronger hue, always jittered, no blur.
 */
export function mocoV1Augmentation(size: number): Augmentation {
  return {
    ...mocoV2Augmentation(size),
    grayscaleFirst: true,
    jitter: { probability: 1, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.4 },
    blur: { probability: 0, sigma: [0.1, 2] },
  };
}

/** SWAV's augmentation as the original has it: MoCo v2's with other crops. */
export function swavAugmentation(size: number): Augmentation {
  return { ...mocoV2Augmentation(size), scale: [0.14, 1] };
}

/** The small views of SWAV's multi-crop, as the original has them. */
export function swavLocalAugmentation(size: number): Augmentation {
  return { ...mocoV2Augmentation(size), scale: [0.05, 0.14] };
}

/** Random crop and flip only: what a linear probe trains with (torchvision's `RandomResizedCrop` as it comes). */
export function plainAugmentation(size: number): Augmentation {
  return {
    ...mocoV2Augmentation(size),
    scale: [0.08, 1],
    jitter: { probability: 0, brightness: 0, contrast: 0, saturation: 0, hue: 0 },
    grayscaleProbability: 0,
    blur: { probability: 0, sigma: [0.1, 2] },
  };
}

/** Python's `round`: halves go to the even neighbour. */
function roundHalfToEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/**
 * The box of torchvision's `RandomResizedCrop.get_params`: ten tries, then the largest centred box whose ratio is
 * allowed.
 *
 * Draws for each try: the area's share, the logarithm of the ratio; when the box fits: its top, its left.
 *
 * @param width of the image in pixels
 * @param height of the image in pixels
 */
export function sampleCrop(
  random: ViewRandom,
  width: number,
  height: number,
  scale: Range,
  ratio: Range,
): Box {
  const area = width * height;
  for (let tries = 0; tries < 10; tries++) {
    const wanted = area * random.uniform(...scale);
    const aspect = Math.exp(random.uniform(Math.log(ratio[0]), Math.log(ratio[1])));
    const w = roundHalfToEven(Math.sqrt(wanted * aspect));
    const h = roundHalfToEven(Math.sqrt(wanted / aspect));
    if (w > 0 && w <= width && h > 0 && h <= height) {
      const top = random.integer(0, height - h);
      return { left: random.integer(0, width - w), top, width: w, height: h };
    }
  }
  let w = width;
  let h = height;
  if (width / height < ratio[0]) h = roundHalfToEven(w / ratio[0]);
  else if (width / height > ratio[1]) w = roundHalfToEven(h * ratio[1]);
  return { left: Math.floor((width - w) / 2), top: Math.floor((height - h) / 2), width: w, height: h };
}

/**
 * torchvision's `ColorJitter.get_params` under `RandomApply`.
 *
 * Draws: whether at all; the order of the four; then the factors of those in use: brightness, contrast, saturation,
 * hue.
 */
export function sampleJitter(random: ViewRandom, augmentation: JitterRule): JitterOp[] {
  if (!random.chance(augmentation.probability)) return [];
  const order = random.shuffle(["brightness", "contrast", "saturation", "hue"] as JitterOp["kind"][]);
  const factors = new Map<JitterOp["kind"], number>();
  for (const kind of ["brightness", "contrast", "saturation"] as const) {
    const strength = augmentation[kind];
    if (strength > 0) factors.set(kind, random.uniform(Math.max(0, 1 - strength), 1 + strength));
  }
  if (augmentation.hue > 0) factors.set("hue", random.uniform(-augmentation.hue, augmentation.hue));
  return order.filter((kind) => factors.has(kind)).map((kind) => ({ kind, factor: factors.get(kind)! }));
}

/**
 * Draws a view.
 *
 * Draws, in this order: the crop ({@linkcode sampleCrop}), the jitter ({@linkcode sampleJitter}), whether grayscale,
 * whether blurred, if so the blur's sigma, whether flipped.
 *
 * @param width of the image in pixels
 * @param height of the image in pixels
 * @param image its row in the batch
 */
export function sampleView(
  random: ViewRandom,
  augmentation: Augmentation,
  width: number,
  height: number,
  image = 0,
): ViewParameters {
  const crop = sampleCrop(random, width, height, augmentation.scale, augmentation.ratio);
  const jitter = sampleJitter(random, augmentation.jitter);
  const grayscale = random.chance(augmentation.grayscaleProbability);
  const blurSigma = random.chance(augmentation.blur.probability)
    ? random.uniform(...augmentation.blur.sigma)
    : 0;
  const flip = random.chance(augmentation.flipProbability);
  return {
    image,
    crop,
    resized: { width: augmentation.size, height: augmentation.size },
    window: { left: 0, top: 0 },
    filter: augmentation.filter,
    jitter,
    grayscale,
    ...augmentation.grayscaleFirst && { grayscaleFirst: true },
    blurSigma,
    flip,
  };
}

/**
 * torchvision's `Resize(shorter)` and `CenterCrop(size)`, as for evaluation. The longer side is rounded down, the
 * crop's corner to the even neighbour; a resized image smaller than the crop is padded with black.
 *
 * @param width of the image in pixels
 * @param height of the image in pixels
 * @param shorter what the image's shorter side becomes, e.g. 256
 * @param size of the view in pixels, e.g. 224
 */
export function evaluationView(
  width: number,
  height: number,
  shorter: number,
  size: number,
  image = 0,
  filter: ResizeFilter = "bilinear",
): ViewParameters {
  const longer = Math.floor((shorter * Math.max(width, height)) / Math.min(width, height));
  const resized = width <= height ? { width: shorter, height: longer } : { width: longer, height: shorter };
  return {
    image,
    crop: { left: 0, top: 0, width, height },
    resized,
    window: { left: centre(resized.width, size), top: centre(resized.height, size) },
    filter,
    jitter: [],
    grayscale: false,
    blurSigma: 0,
    flip: false,
  };
}

/** Where torchvision's `CenterCrop` begins along one axis; below 0 it pads by half of what is missing, rounded down. */
function centre(resized: number, size: number): number {
  return resized < size ? -Math.floor((size - resized) / 2) : roundHalfToEven((resized - size) / 2);
}
