/**
 * The state of PyTorch's AdamW, as `torch.optim.AdamW.state_dict()` gives it. Each group of parameters that have one learning rate
 * is two in the file: what decays, then what does not (see `isDecayed`).
 */
import { isDecayed } from "../optim/weight_decay.ts";
import { describe, type Fail, quote } from "./checkpoint_error.ts";
import { isFloatingPoint } from "./dtype.ts";
import { TensorRef } from "./tensor_ref.ts";
import { PyFloat, TensorValue, type TorchDict, torchDict, type TorchValue } from "./torch_value.ts";

/** The settings of AdamW that PyTorch stores in `param_groups`, but for the learning rate. */
export interface AdamWSettings {
  /** Decay rates of the two moments. */
  readonly betas: readonly [number, number];
  /** Added to the root of the second moment. */
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** The moments by the parameters' plain keys: `exp_avg`, and `exp_avg_sq`. */
export interface AdamWMoments<Values> {
  readonly averages: ReadonlyMap<string, Values>;
  readonly squares: ReadonlyMap<string, Values>;
}

/** The moments in a file. Tensors are read when asked for. */
export interface SavedAdamW extends AdamWMoments<TensorRef> {
  /** Steps that changed the weights: a tensor, of programs before PyTorch 1.12 a number; `undefined` before the first one. */
  readonly step: TorchValue | undefined;
}

/** A trained parameter. */
export interface TrainedEntry {
  readonly key: string;
  readonly shape: readonly number[];
}

/** The parameters of each of the file's groups, of those that have one learning rate. */
function splitByDecay(entries: readonly TrainedEntry[]): TrainedEntry[][] {
  const decays = ({ key, shape }: TrainedEntry) => isDecayed(key, shape);
  return [entries.filter(decays), entries.filter((entry) => !decays(entry))];
}

/**
 * Returns the state of an optimizer.
 *
 * @param groups parameters in the state_dict's order, and their learning rate
 * @param steps how many changed the weights
 */
export function buildAdamWState(
  { betas, epsilon, weightDecay }: AdamWSettings,
  groups: readonly { readonly lr: number; readonly entries: readonly TrainedEntry[] }[],
  { averages, squares }: AdamWMoments<Float32Array<ArrayBuffer>>,
  steps: number,
): TorchDict {
  const state: TorchDict = new Map();
  const built: TorchValue[] = [];
  let index = 0;
  for (const { lr, entries } of groups) {
    for (const [i, group] of splitByDecay(entries).entries()) {
      const params = group.map(({ key, shape }) => {
        const [average, square] = [averages.get(key), squares.get(key)];
        if (steps > 0 && average !== undefined && square !== undefined) {
          state.set(
            index,
            torchDict([
              ["step", new TensorValue("float32", [], Float32Array.of(steps))],
              ["exp_avg", new TensorValue("float32", shape, average)],
              ["exp_avg_sq", new TensorValue("float32", shape, square)],
            ]),
          );
        }
        return index++;
      });
      built.push(torchDict([
        ["lr", new PyFloat(lr)],
        ["betas", betas.map((beta) => new PyFloat(beta))],
        ["eps", new PyFloat(epsilon)],
        ["weight_decay", new PyFloat(i === 0 ? weightDecay : 0)],
        ["amsgrad", false],
        ["foreach", null],
        ["maximize", false],
        ["capturable", false],
        ["params", params],
      ]));
    }
  }
  return torchDict([["state", state], ["param_groups", built]]);
}

/** Whether an optimizer's state is an AdamW's, or Adam's: its groups have betas. */
export function isAdamWState(optimizer: TorchValue | undefined): boolean {
  const groups = optimizer instanceof Map ? optimizer.get("param_groups") : undefined;
  const [group] = Array.isArray(groups) ? groups : [];
  return group instanceof Map && group.has("betas");
}

/**
 * Reads what {@linkcode buildAdamWState} made; a parameter without moments has not been trained yet.
 *
 * @param groups parameters in the state_dict's order, of each learning rate
 * @throws CheckpointError where the state does not fit them
 */
export function readAdamWState(
  optimizer: TorchValue | undefined,
  groups: readonly (readonly TrainedEntry[])[],
  fail: Fail,
): SavedAdamW {
  const state = optimizer instanceof Map ? optimizer.get("state") : undefined;
  if (!(state instanceof Map)) throw fail("its optimizer has no state; expected that of a torch.optim.AdamW");
  const entries = groups.flatMap((group) => splitByDecay(group).flat());
  const averages = new Map<string, TensorRef>();
  const squares = new Map<string, TensorRef>();
  let step: TorchValue | undefined;
  for (const [index, moments] of state) {
    const entry = typeof index === "number" ? entries[index] : undefined;
    const take = (name: string, of: Map<string, TensorRef>) => {
      const found = moments instanceof Map ? moments.get(name) : undefined;
      if (
        entry === undefined || !(found instanceof TensorRef) || !isFloatingPoint(found.dtype) ||
        found.shape.join() !== entry.shape.join()
      ) {
        const place = entry === undefined ? "" : `, ${quote(entry.key)},`;
        throw fail(`the ${name} of parameter ${describe(index)}${place} does not fit it`);
      }
      of.set(entry.key, found);
    };
    take("exp_avg", averages);
    take("exp_avg_sq", squares);
    step ??= (moments as TorchDict).get("step");
  }
  return { step, averages, squares };
}

/**
 * Reads how many steps changed the weights.
 *
 * @throws CheckpointError where the file does not say
 */
export async function readAdamWSteps({ step, averages }: SavedAdamW, fail: Fail): Promise<number> {
  if (averages.size === 0) return 0;
  const value = step instanceof TensorRef && step.size === 1 ? (await step.read())[0] : step;
  if (typeof value === "number" && Number.isSafeInteger(value) && value > 0) return value;
  const found = value instanceof TensorRef ? "a tensor" : value === undefined ? "nothing" : describe(value);
  throw fail(`its optimizer is damaged: expected a positive integer for step, found ${found}`);
}
