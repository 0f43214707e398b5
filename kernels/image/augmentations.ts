/** The augmentations of views by name. */
import { UserError } from "../../errors.ts";
import { BLUR_SIGMA_LIMIT } from "./blur_weights.ts";
import { filterProblem } from "./resize_table.ts";
import {
  type Augmentation,
  mocoV1Augmentation,
  mocoV2Augmentation,
  plainAugmentation,
  type Range,
  swavAugmentation,
} from "./view_parameters.ts";

/** Makes the augmentation for views of a size, in pixels. */
export type MakeAugmentation = (size: number) => Augmentation;

/** `plain` is what linear probes train with; the others are named for whose teachers the original uses them. */
const augmentations = new Map<string, MakeAugmentation>([
  ["mocov1", mocoV1Augmentation],
  ["mocov2", mocoV2Augmentation],
  ["simclr", mocoV1Augmentation],
  ["swav", swavAugmentation],
  ["plain", plainAugmentation],
]);

/**
 * Registers an augmentation that a distillation can use by name. Workers load their own modules, so pass the URL of
 * the calling module to a run as one of its `plugins`.
 *
 * @throws {Error} if the name is taken
 */
export function registerAugmentation(name: string, augmentation: MakeAugmentation): void {
  if (augmentations.has(name)) throw new Error(`there is already an augmentation "${name}"`);
  augmentations.set(name, augmentation);
}

/** Names of all of them. */
export function augmentationNames(): string[] {
  return [...augmentations.keys()];
}

/**
 * The augmentation of a name.
 *
 * @returns makes it for a size, and throws a {@linkcode UserError} where it is of another size or has numbers that no view can
 *   be drawn by
 * @throws {UserError} that lists the known ones
 */
export function findAugmentation(name: string): MakeAugmentation {
  const make = augmentations.get(name);
  if (make === undefined) {
    throw new UserError(`there is no augmentation "${name}"; known are ${augmentationNames().join(", ")}`);
  }
  return (size) => {
    const augmentation = make(size);
    const problem = problemOf(augmentation, size);
    if (problem !== undefined) throw new UserError(`augmentation "${name}": ${problem}`);
    return augmentation;
  };
}

/** What is wrong with an augmentation of one's own, if anything; without types it may lack any part. */
function problemOf(
  { size, scale, ratio, filter, jitter, grayscaleProbability, blur, flipProbability }: Partial<Augmentation>,
  asked: number,
): string | undefined {
  if (size !== asked) {
    return `expected views of ${asked} pixels, which it is asked for, found size ${size}`;
  }
  const numbers = {
    "jitter.probability": [jitter?.probability, 1],
    "jitter.brightness": [jitter?.brightness, Number.MAX_VALUE],
    "jitter.contrast": [jitter?.contrast, Number.MAX_VALUE],
    "jitter.saturation": [jitter?.saturation, Number.MAX_VALUE],
    "jitter.hue": [jitter?.hue, 0.5],
    grayscaleProbability: [grayscaleProbability, 1],
    "blur.probability": [blur?.probability, 1],
    flipProbability: [flipProbability, 1],
  } as const;
  for (const [name, [value, most]] of Object.entries(numbers)) {
    if (value !== undefined && value >= 0 && value <= most) continue;
    const range = most === Number.MAX_VALUE ? "a number of at least 0" : `a number from 0 to ${most}`;
    return `${name}: expected ${range}, found ${value}`;
  }
  const isRange = (range: Range | undefined, isGood: (value: number) => boolean) =>
    range?.length === 2 && range.every(isGood) && range[0] <= range[1];
  const isPositive = (value: number) => value > 0 && value < Infinity;
  for (const [name, range] of Object.entries({ scale, ratio })) {
    if (isRange(range, isPositive)) continue;
    return `${name}: expected two numbers above 0, the smaller one first, found ${range}`;
  }
  if (!isRange(blur?.sigma, (value) => value >= 0 && value < BLUR_SIGMA_LIMIT)) {
    return `blur.sigma: expected two numbers from 0 to below ${BLUR_SIGMA_LIMIT}, found ${blur?.sigma}`;
  }
  return filterProblem(filter);
}
