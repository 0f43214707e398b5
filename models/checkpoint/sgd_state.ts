/** The state of PyTorch's SGD, as `torch.optim.SGD.state_dict()` gives it. */
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

/** `parameters` is how many the optimizer has; those without a momentum have not been trained yet. */
export function buildSgdState(
  sgd: SgdSettings,
  parameters: number,
  momentum: Iterable<SgdBuffer>,
): TorchDict {
  const state: TorchDict = new Map();
  for (const { index, shape, data } of momentum) {
    state.set(index, torchDict([["momentum_buffer", new TensorValue("float32", shape, data)]]));
  }
  const group = torchDict([
    ["lr", new PyFloat(sgd.lr)],
    ["momentum", new PyFloat(sgd.momentum)],
    ["dampening", 0],
    ["weight_decay", new PyFloat(sgd.weightDecay)],
    ["nesterov", false],
    ["params", Array.from({ length: parameters }, (_, index) => index)],
  ]);
  return torchDict([["state", state], ["param_groups", [group]]]);
}

/** The settings of the first group; `undefined` where the file has none. */
export function readSgdSettings(optimizer: TorchValue | undefined): SgdSettings | undefined {
  const groups = optimizer instanceof Map ? optimizer.get("param_groups") : undefined;
  const group = Array.isArray(groups) ? groups[0] : undefined;
  if (!(group instanceof Map)) return undefined;
  const [lr, momentum, weightDecay] = ["lr", "momentum", "weight_decay"].map((name) => group.get(name));
  if (typeof lr !== "number" || typeof momentum !== "number" || typeof weightDecay !== "number") {
    return undefined;
  }
  return { lr, momentum, weightDecay };
}

/** The momentum buffers by the parameters' numbers, as the file has them. */
export function readSgdBuffers(optimizer: TorchValue | undefined): [index: TorchValue, buffer: TorchValue][] {
  const state = optimizer instanceof Map ? optimizer.get("state") : undefined;
  return [...state instanceof Map ? state : []].flatMap(([index, entry]) => {
    const buffer = entry instanceof Map ? entry.get("momentum_buffer") : undefined;
    return buffer === null || buffer === undefined ? [] : [[index, buffer] as [TorchValue, TorchValue]];
  });
}
