/** What an optimizer keeps, on its way from a step to a checkpoint and back. */
import { CheckpointError, type Fail } from "../../models/checkpoint/checkpoint_error.ts";
import {
  type AdamWMoments,
  type AdamWSettings,
  readAdamWSteps,
  type SavedAdamW,
} from "../../models/checkpoint/adamw_state.ts";
import { readFinite, requireFinite } from "../../models/checkpoint/read_finite.ts";
import type { TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import type { StateValues } from "../../models/initialize.ts";
import { ADAMW } from "../../models/optim/optimizers.ts";
import type { OptimizerName, StepOptions } from "./step_options.ts";

/** What a checkpoint has of an optimizer. Tensors are read when asked for. */
export interface SavedOptimizer {
  /** SGD's momentum by the parameters' plain keys; empty before the first step, and where it is AdamW. */
  readonly momentum: ReadonlyMap<string, TensorRef>;
  /** The moments of AdamW; absent where it is SGD. */
  readonly adamw?: SavedAdamW;
}

/** What an optimizer keeps, as a step saves it. */
export type KeptByOptimizer =
  | { readonly momentum: StateValues; readonly moments?: undefined }
  | { readonly moments: AdamWMoments<Float32Array<ArrayBuffer>>; readonly momentum?: undefined };

/** An optimizer that a run goes on with. */
export interface LoadedOptimizer {
  /** Its arenas by name: values by the parameters' plain keys. */
  readonly arenas: ReadonlyMap<string, ReadonlyMap<string, Float32Array>>;
  /** Steps that changed the weights; `undefined` of SGD, which does not count them. */
  readonly steps?: number;
}

/** Nothing is kept yet. */
export const NO_OPTIMIZER: LoadedOptimizer = { arenas: new Map() };

/** The settings of AdamW in a run. */
export function adamwOf({ weightDecay }: Pick<StepOptions, "weightDecay">): AdamWSettings {
  return { ...ADAMW, weightDecay };
}

/**
 * Reads what an optimizer keeps.
 *
 * @param save reads an arena of a step
 * @param check fails where values are not finite; it is told what they are
 */
export async function saveOptimizer(
  { optimizer }: Pick<StepOptions, "optimizer">,
  save: (arena: string) => Promise<StateValues>,
  check: (what: string, values: StateValues) => void,
): Promise<KeptByOptimizer> {
  switch (optimizer) { // of all names, or it does not compile
    case "sgd": {
      const momentum = await save("momentum");
      check("the momentum of", momentum);
      return { momentum };
    }
    case "adamw": {
      const [averages, squares] = [await save("exp_avg"), await save("exp_avg_sq")];
      check("the exp_avg of", averages);
      check("the exp_avg_sq of", squares);
      return { moments: { averages, squares } };
    }
  }
}

/** Names the tensors of an optimizer for errors: its arena, what it is called, and the values. */
function tensorsOf({ momentum, adamw }: SavedOptimizer) {
  return adamw === undefined ? [["momentum", "the momentum of", momentum] as const] : [
    ["exp_avg", "the exp_avg of", adamw.averages] as const,
    ["exp_avg_sq", "the exp_avg_sq of", adamw.squares] as const,
  ];
}

/**
 * Reads all that a checkpoint has of an optimizer.
 *
 * @throws {CheckpointError} where a number is not finite
 */
export async function requireFiniteOptimizer(path: string, saved: SavedOptimizer): Promise<void> {
  for (const [, what, values] of tensorsOf(saved)) {
    await requireFinite(path, [...values].map(([key, tensor]) => [`${what} ${key}`, tensor] as const));
  }
}

/** Reads the optimizer that a run goes on with. */
export async function readOptimizer(path: string, saved: SavedOptimizer): Promise<LoadedOptimizer> {
  const arenas = new Map<string, Map<string, Float32Array>>();
  for (const [arena, what, tensors] of tensorsOf(saved)) {
    const values = new Map<string, Float32Array>();
    for (const [key, tensor] of tensors) values.set(key, await readFinite(path, `${what} ${key}`, tensor));
    arenas.set(arena, values);
  }
  const { adamw } = saved;
  const fail: Fail = (problem) => new CheckpointError(path, problem);
  return { arenas, ...adamw && { steps: await readAdamWSteps(adamw, fail) } };
}

/**
 * Fails where a checkpoint is of another optimizer than the run's: its state would mean something else.
 *
 * @throws {CheckpointError} that says what to use
 */
export function requireOptimizer(
  { adamw, hasOptimizer }: { readonly adamw?: SavedAdamW; readonly hasOptimizer: boolean },
  optimizer: OptimizerName,
  fail: Fail,
): void {
  const saved = adamw === undefined ? "sgd" : "adamw";
  if (!hasOptimizer || saved === optimizer) return;
  throw fail(
    `was trained with ${saved}, but --optimizer is ${optimizer}; use --optimizer ${saved}, or start a new run`,
  );
}
