/** The recipes of views by name. */
import { UserError } from "../../errors.ts";
import { mocoV1Recipe, mocoV2Recipe, plainRecipe, swavRecipe, type ViewRecipe } from "./view_parameters.ts";

/** How views of a size, in pixels, are drawn. */
export type MakeViewRecipe = (size: number) => ViewRecipe;

/** `plain` is what linear probes train with; the others are named for whose teachers the original uses them. */
const recipes = new Map<string, MakeViewRecipe>([
  ["mocov1", mocoV1Recipe],
  ["mocov2", mocoV2Recipe],
  ["simclr", mocoV1Recipe],
  ["swav", swavRecipe],
  ["plain", plainRecipe],
]);

/**
 * Adds an augmentation that a distillation can name. Workers have modules of their own: a run is told the module that
 * calls this by its `plugins`.
 *
 * @throws {Error} where there is one of that name already
 */
export function registerAugmentation(name: string, recipe: MakeViewRecipe): void {
  if (recipes.has(name)) throw new Error(`there is an augmentation "${name}" already`);
  recipes.set(name, recipe);
}

/** Names of all of them. */
export function augmentationNames(): string[] {
  return [...recipes.keys()];
}

/** The recipe of a name. Throws a {@linkcode UserError} that lists the known ones. */
export function findViewRecipe(name: string): MakeViewRecipe {
  const recipe = recipes.get(name);
  if (recipe === undefined) {
    throw new UserError(`there is no augmentation "${name}"; known are ${augmentationNames().join(", ")}`);
  }
  return recipe;
}
