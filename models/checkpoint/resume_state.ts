/** What this project's checkpoints of a distillation have beside the original's content: `seed_resume`. */
import type { LossScale } from "../../kernels/ops/loss_scale/loss_scale.ts";
import { describe, type Fail } from "./checkpoint_error.ts";
import { buildTerms, type Term } from "./run_terms.ts";
import { TensorRef } from "./tensor_ref.ts";
import { PyFloat, type TorchDict, torchDict, type TorchValue } from "./torch_value.ts";

/** Initial student of a run, in a form from which it can be made again. */
export interface RunOrigin {
  /** Seed of its weights. */
  readonly seed: number;
  /** First epoch of the run. */
  readonly epoch: number;
  /** Fingerprint of the weights that it started from, by `fingerprintWeights`; `null` for random weights. */
  readonly studentInit: string | null;
}

/** Where a run was, and what it is. */
export interface ResumeState {
  /** Batches done in the epoch under way; 0 at an epoch's end. */
  readonly batch: number;
  /** Batches per epoch. */
  readonly batchesPerEpoch: number;
  /** Steps that earlier epochs of another batch size had more, or fewer if below 0; left out where there are none. */
  readonly extraSteps?: number;
  /** Images per batch. */
  readonly batchSize: number;
  readonly seed: number;
  /** Where mixed precision or the skipping of steps is used. */
  readonly lossScale?: LossScale;
  readonly origin?: RunOrigin;
  readonly terms?: readonly Term[];
}

/** What {@linkcode readResumeState} finds: checkpoints of before, and the original's, have less of it, or nothing. */
export interface SavedResumeState extends Partial<Omit<ResumeState, "batch" | "terms">> {
  readonly batch: number;
  /** To be compared by `compareTerms`. */
  readonly terms?: TorchDict;
}

/** What a checkpoint says of the steps before it. */
export function stepCountEntries(
  { batchesPerEpoch, extraSteps = 0 }: Pick<ResumeState, "batchesPerEpoch" | "extraSteps">,
): [string, number][] {
  return [
    ["batches_per_epoch", batchesPerEpoch],
    ...extraSteps === 0 ? [] : [["extra_steps", extraSteps] satisfies [string, number]],
  ];
}

/** The value to keep in a checkpoint. */
export function buildResumeState(state: ResumeState): TorchDict {
  const { batch, batchSize, seed, lossScale, origin, terms } = state;
  return torchDict([
    ["batch", batch],
    ...stepCountEntries(state),
    ["batch_size", batchSize],
    ["seed", seed],
    ...lossScale === undefined ? [] : [
      ["loss_scale", new PyFloat(lossScale.scale)] as const,
      ["loss_scale_good_steps", lossScale.goodSteps] as const,
      ["loss_scale_skipped", lossScale.skipped] as const,
    ],
    ...origin === undefined ? [] : [
      [
        "origin",
        torchDict([["seed", origin.seed], ["epoch", origin.epoch], ["student_init", origin.studentInit]]),
      ] as const,
    ],
    ...terms === undefined ? [] : [["terms", buildTerms(terms)] as const],
  ]);
}

/**
 * Reads what {@linkcode buildResumeState} made.
 *
 * @param value of a checkpoint's `seed_resume`; `undefined` where it has none
 * @throws CheckpointError where a value is none that could have been written
 */
export function readResumeState(value: TorchValue | undefined, fail: Fail): SavedResumeState {
  const state = dictOf("seed_resume", value, fail);
  const read = (from: TorchDict | undefined, name: string, is: (value: number) => boolean, what: string) => {
    const found = from?.get(name);
    if (found === undefined) return undefined;
    if (typeof found === "number" && is(found)) return found;
    throw damaged(name, what, found, fail);
  };
  const count = (name: string, from = state) => read(from, name, isCount, "a non-negative integer");
  const positive = (name: string) =>
    read(state, name, (value) => isCount(value) && value > 0, "a positive integer");
  const batchesPerEpoch = positive("batches_per_epoch");
  const batch = count("batch") ?? 0;
  if (batchesPerEpoch !== undefined && batch >= batchesPerEpoch) {
    throw damaged("batch", `less than its batches_per_epoch of ${batchesPerEpoch}`, batch, fail);
  }
  const extraSteps = read(state, "extra_steps", Number.isSafeInteger, "an integer");
  const scale = read(
    state,
    "loss_scale",
    (value) => Number.isFinite(value) && value > 0,
    "a finite number above 0",
  );
  const [goodSteps, skipped] = [count("loss_scale_good_steps"), count("loss_scale_skipped")];
  const origin = dictOf("origin", state?.get("origin"), fail);
  const [originSeed, originEpoch] = [count("seed", origin), count("epoch", origin)];
  const studentInit = origin?.get("student_init") ?? null;
  if (studentInit !== null && typeof studentInit !== "string") {
    throw damaged("student_init", "a string", studentInit, fail);
  }
  return {
    batch,
    batchesPerEpoch,
    ...extraSteps !== undefined && { extraSteps },
    batchSize: positive("batch_size"),
    seed: count("seed"),
    lossScale: scale === undefined ? undefined : { scale, goodSteps: goodSteps ?? 0, skipped: skipped ?? 0 },
    origin: originSeed === undefined || originEpoch === undefined
      ? undefined
      : { seed: originSeed, epoch: originEpoch, studentInit },
    terms: dictOf("terms", state?.get("terms"), fail),
  };
}

/**
 * Returns `extraSteps` of a run that goes on from a checkpoint, so that its steps are counted on.
 *
 * @param epoch that it goes on in
 * @param batchesPerEpoch of now
 * @throws CheckpointError where there were less than 0 steps
 */
export function extraStepsOf(
  { batchesPerEpoch: before, extraSteps = 0 }: Pick<SavedResumeState, "batchesPerEpoch" | "extraSteps">,
  epoch: number,
  batchesPerEpoch: number,
  fail: Fail,
): number {
  const steps = extraSteps + epoch * (before ?? batchesPerEpoch);
  if (steps < 0) throw damaged("extra_steps", `at least ${extraSteps - steps}`, extraSteps, fail);
  return steps - epoch * batchesPerEpoch;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function dictOf(name: string, value: TorchValue | undefined, fail: Fail): TorchDict | undefined {
  if (value === undefined || value instanceof Map) return value;
  throw damaged(name, "a dict", value, fail);
}

function damaged(name: string, expected: string, found: TorchValue, fail: Fail): Error {
  const shown = found instanceof TensorRef ? "a tensor" : describe(found);
  return fail(`its seed_resume is damaged: expected ${expected} for ${name}, found ${shown}`);
}
