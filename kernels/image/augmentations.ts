/** The augmentations of views by name. */
import { UserError } from "../../errors.ts";
import {
  type Augmentation,
  mocoV1Augmentation,
  mocoV2Augmentation,
  plainAugmentation,
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

/** The augmentation of a name. Throws a {@linkcode UserError} that lists the known ones. */
export function findAugmentation(name: string): MakeAugmentation {
  const augmentation = augmentations.get(name);
  if (augmentation === undefined) {
    throw new UserError(`there is no augmentation "${name}"; known are ${augmentationNames().join(", ")}`);
  }
  return augmentation;
}
