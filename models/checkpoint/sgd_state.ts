/** The state of PyTorch's SGD, as `torch.optim.SGD.state_dict()` gives it. */
import { describe, type Fail } from "./checkpoint_error.ts";
import { TensorRef } from "./tensor_ref.ts";
import { PyFloat, TensorValue, type TorchDict, torchDict, type TorchValue } from "./torch_value.ts";

/** The settings of SGD that PyTorch stores in `param_groups`. */
export interface SgdSettings {
  /** Learning rate of the last step. */
  readonly lr: number;
  /** Share of the old momentum that is kept. */
  readonly momentum: number;
  /** Weight decay (L2). */
  readonly weightDecay: number;
}

/** The momentum of one parameter. */
export interface SgdBuffer {
  /** Number of the parameter in the optimizer. */
  readonly index: number;
  readonly shape: readonly number[];
  readonly data: Float32Array<ArrayBuffer>;
}

/** A group of parameters that have the same settings. */
export interface SgdGroup {
  readonly settings: SgdSettings;
  /** How many parameters it has; they are numbered through the groups. */
  readonly parameters: number;
}

/** `parameters` is how many the optimizer has; those without a momentum have not been trained yet. */
export function buildSgdState(
  sgd: SgdSettings,
  parameters: number,
  momentum: Iterable<SgdBuffer>,
): TorchDict {
  return buildSgdGroups([{ settings: sgd, parameters }], momentum);
}

/** {@linkcode buildSgdState} of an optimizer whose groups have learning rates of their own. */
export function buildSgdGroups(groups: readonly SgdGroup[], momentum: Iterable<SgdBuffer>): TorchDict {
  const state: TorchDict = new Map();
  for (const { index, shape, data } of momentum) {
    state.set(index, torchDict([["momentum_buffer", new TensorValue("float32", shape, data)]]));
  }
  let first = 0;
  const built = groups.map(({ settings, parameters }) => {
    const from = first;
    first += parameters;
    return torchDict([
      ["lr", new PyFloat(settings.lr)],
      ["momentum", new PyFloat(settings.momentum)],
      ["dampening", 0],
      ["weight_decay", new PyFloat(settings.weightDecay)],
      ["nesterov", false],
      ["params", Array.from({ length: parameters }, (_, i) => from + i)],
    ]);
  });
  return torchDict([["state", state], ["param_groups", built]]);
}

/**
 * The settings of the first group.
 *
 * @returns `undefined` where the file has no optimizer, or one that no parameters were given to yet
 * @throws CheckpointError where it has something else than the state of an SGD
 */
export function readSgdSettings(optimizer: TorchValue | undefined, fail: Fail): SgdSettings | undefined {
  if (optimizer === undefined) return undefined;
  const groups = optimizer instanceof Map ? optimizer.get("param_groups") : undefined;
  if (Array.isArray(groups) && groups.length === 0) return undefined;
  const group = Array.isArray(groups) ? groups[0] : undefined;
  if (!(group instanceof Map)) {
    throw fail("its optimizer has no param_groups; expected the state of a torch.optim.SGD");
  }
  const [lr, momentum, weightDecay] = ["lr", "momentum", "weight_decay"].map((name) => {
    const value = group.get(name);
    if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
    const found = value instanceof TensorRef ? "a tensor" : describe(value);
    throw fail(`its optimizer is damaged: expected a non-negative number for ${name}, found ${found}`);
  });
  return { lr, momentum, weightDecay };
}

/**
 * The momentum buffers by the parameters' numbers, as the file has them.
 *
 * @throws CheckpointError where the file has something else than the state of an SGD
 */
export function readSgdBuffers(
  optimizer: TorchValue | undefined,
  fail: Fail,
): [index: TorchValue, buffer: TorchValue][] {
  if (optimizer === undefined) return [];
  const state = optimizer instanceof Map ? optimizer.get("state") : undefined;
  if (!(state instanceof Map)) throw fail("its optimizer has no state; expected that of a torch.optim.SGD");
  return [...state].flatMap(([index, entry]) => {
    if (!(entry instanceof Map)) {
      throw fail(`its optimizer is damaged: expected a dict for parameter ${describe(index)}`);
    }
    const buffer = entry.get("momentum_buffer");
    return buffer === null || buffer === undefined ? [] : [[index, buffer] as [TorchValue, TorchValue]];
  });
}
