/**
 * What a checkpoint says of the images that its encoder takes: `seed_input`, a dict of plain data beside the original's
 * content. A bare state_dict has it among its attributes, `_metadata["seed_input"]`, so that its keys stay the encoder's;
 * safetensors have it as JSON in their metadata.
 */
import { describe, type Fail } from "./checkpoint_error.ts";
import { RESIZE_FILTERS, type ResizeFilter } from "../../kernels/image/resize_table.ts";
import { type FeatureKind, FEATURES } from "../encoder.ts";
import { TensorRef } from "./tensor_ref.ts";
import { PyFloat, type TorchDict, torchDict, type TorchValue } from "./torch_value.ts";

/** Key of the entry. */
export const INPUT_KEY = "seed_input";
/** Key of the entry of a distillation's teacher. */
export const TEACHER_INPUT_KEY = "seed_teacher_input";

/** A number for each of red, green and blue. */
export type ByChannel = readonly [number, number, number];

/** What is known of an encoder's images. Whoever writes the entry by hand may leave any of it out. */
export interface SavedInput {
  /** Name of the encoder, which its tensors do not tell where another one has the same. */
  readonly arch?: string;
  /** Height and width of a view, in pixels. */
  readonly imageSize?: number;
  /** Side of a view over the shorter side of the resized image that it is cut from, in an evaluation. */
  readonly cropRatio?: number;
  /** Filter by which an evaluation resizes images. */
  readonly interpolation?: ResizeFilter;
  /** Per channel, in units of [0, 1]. */
  readonly mean?: ByChannel;
  /** Per channel, likewise: pixels less `mean` are divided by it. */
  readonly std?: ByChannel;
  /** First layers of the encoder, see `stemOf`. */
  readonly stem?: string;
  /** Attention heads of a vision transformer, which no shape of its tensors tells. */
  readonly heads?: number;
  /** Feature of the encoder, where it is not its usual one. */
  readonly feature?: FeatureKind;
  /** Whether its head is a classifier, see `HeadOptions`. */
  readonly isClassifier?: boolean;
}

/** Image sizes that a checkpoint may record, in pixels. */
export const IMAGE_SIZES = { min: 8, max: 4096 };

/** Shares of an image that evaluations take: `Resize(size * 256 / 224)` and `CenterCrop(size)`, or all of its shorter side. */
export const CROP_RATIOS = { torchvision: 224 / 256, none: 1 } as const;

/** Size of views in pixels from which on torchvision's ratio is the usual one, whatever the images: those as small as CIFAR's are not cut. */
export const CROPPED_FROM = 64;

/** How evaluations resize images, by the name of `--eval-resize`. */
export const RESIZE_RULES = {
  torchvision: { cropRatio: CROP_RATIOS.torchvision, interpolation: "bilinear" },
  none: { cropRatio: CROP_RATIOS.none, interpolation: "bilinear" },
  "torchvision-bicubic": { cropRatio: CROP_RATIOS.torchvision, interpolation: "bicubic" },
  "none-bicubic": { cropRatio: CROP_RATIOS.none, interpolation: "bicubic" },
} as const satisfies Record<string, Pick<SavedInput, "cropRatio" | "interpolation">>;

/** The value to keep in a checkpoint. */
export function buildInput(
  { arch, imageSize, cropRatio, interpolation, mean, std, stem, heads, feature, isClassifier }: SavedInput,
): TorchDict {
  const floats = (values: ByChannel) => values.map((value) => new PyFloat(value));
  return torchDict([
    ...arch === undefined ? [] : [["arch", arch] as const],
    ...imageSize === undefined ? [] : [["image_size", imageSize] as const],
    ...cropRatio === undefined ? [] : [["crop_ratio", new PyFloat(cropRatio)] as const],
    ...interpolation === undefined ? [] : [["interpolation", interpolation] as const],
    ...mean === undefined ? [] : [["mean", floats(mean)] as const],
    ...std === undefined ? [] : [["std", floats(std)] as const],
    ...stem === undefined ? [] : [["stem", stem] as const],
    ...heads === undefined ? [] : [["heads", heads] as const],
    ...feature === undefined ? [] : [["feature", feature] as const],
    ...isClassifier === undefined ? [] : [["classifier", isClassifier] as const],
  ]);
}

/** The same as texts by name, for metadata that has nothing else. */
export function inputTexts(input: SavedInput): Record<string, string> {
  return Object.fromEntries(
    [...buildInput(input)].map(([name, value]) => [
      name as string,
      typeof value === "string" ? value : JSON.stringify(plainOf(value)),
    ]),
  );
}

/** The same as JSON. */
export function inputJson(input: SavedInput): string {
  return JSON.stringify(plainOf(buildInput(input)));
}

function plainOf(value: TorchValue): unknown {
  if (value instanceof PyFloat) return value.value;
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plainOf(item)]));
  return Array.isArray(value) ? value.map(plainOf) : value;
}

/** The value that {@linkcode inputJson} was made from; what is no JSON of an object stays a text, which is refused later. */
export function parseInputJson(text: string): TorchValue {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return text;
    return torchDict(Object.entries(value) as [string, TorchValue][]);
  } catch {
    return text;
  }
}

/**
 * Reads the images of the run that wrote a checkpoint, which files of before {@linkcode INPUT_KEY} say among its terms.
 *
 * @param state the file's `seed_resume`; `undefined` where it has none
 * @throws CheckpointError for values that no input can have
 */
export function readInputOfRun(state: TorchValue | undefined, fail: Fail): SavedInput | undefined {
  const terms = state instanceof Map ? state.get("terms") : undefined;
  if (!(terms instanceof Map) || !terms.has("image_size")) return undefined;
  const resize = terms.get("eval_resize");
  const ratio = resize === "none" || resize === "torchvision" ? CROP_RATIOS[resize] : undefined;
  const entries: [string, TorchValue][] = [
    ["image_size", terms.get("image_size")!],
    ...ratio === undefined ? [] : [["crop_ratio", ratio] as [string, TorchValue]],
  ];
  return readInput("seed_resume", torchDict(entries), fail);
}

/**
 * Reads what {@linkcode buildInput} made, or somebody wrote by hand. Entries of other names are passed over.
 *
 * @param name the entry's, for errors
 * @returns `undefined` where there is none
 * @throws CheckpointError for values that no input can have
 */
export function readInput(name: string, value: TorchValue | undefined, fail: Fail): SavedInput | undefined {
  if (value === undefined) return undefined;
  const wrong = (what: string, expected: string, found: TorchValue) =>
    fail(
      `its ${what} cannot be used: expected ${expected}, found ${
        found instanceof TensorRef
          ? "a tensor"
          : Array.isArray(found) || typeof found === "number"
          ? Deno.inspect(found)
          : describe(found)
      }; correct or remove that entry`,
    );
  if (!(value instanceof Map)) throw wrong(name, "a dict", value);
  function read<T extends TorchValue>(
    key: string,
    expected: string,
    is: (value: TorchValue) => boolean,
  ): T | undefined {
    const found = (value as TorchDict).get(key);
    if (found === undefined) return undefined;
    if (is(found)) return found as T;
    throw wrong(`${name}["${key}"]`, expected, found);
  }
  const { min, max } = IMAGE_SIZES;
  const ratios: readonly number[] = Object.values(CROP_RATIOS);
  const isChannels = (value: TorchValue, is: (value: number) => boolean) =>
    Array.isArray(value) && value.length === 3 &&
    value.every((item) => typeof item === "number" && Number.isFinite(item) && is(item));
  const heads = read<number>(
    "heads",
    "a whole number from 1 on",
    (value) => Number.isSafeInteger(value) && (value as number) > 0,
  );
  const interpolation = read<ResizeFilter>(
    "interpolation",
    RESIZE_FILTERS.join(" or "),
    (value) => RESIZE_FILTERS.some((filter) => filter === value),
  );
  const feature = read<FeatureKind>(
    "feature",
    FEATURES.join(" or "),
    (value) => FEATURES.some((kind) => kind === value),
  );
  const isClassifier = read<boolean>("classifier", "true or false", (value) => typeof value === "boolean");
  const isText = (value: TorchValue) => typeof value === "string";
  const arch = read<string>("arch", "a string", isText);
  return {
    ...arch !== undefined && { arch },
    imageSize: read(
      "image_size",
      `a whole number from ${min} to ${max}`,
      (value) => Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max,
    ),
    cropRatio: read(
      "crop_ratio",
      ratios.join(" or "),
      (value) => typeof value === "number" && ratios.includes(value),
    ),
    ...interpolation !== undefined && { interpolation },
    mean: read("mean", "three finite numbers", (value) => isChannels(value, () => true)) as
      | ByChannel
      | undefined,
    std: read("std", "three finite numbers above 0", (value) => isChannels(value, (item) => item > 0)) as
      | ByChannel
      | undefined,
    stem: read("stem", "a string", isText),
    ...heads !== undefined && { heads },
    ...feature !== undefined && { feature },
    ...isClassifier !== undefined && { isClassifier },
  };
}
