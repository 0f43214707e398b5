/** The optimizers that a training can name: what turns gradients into new weights. */
import { UserError } from "../../errors.ts";
import type { Graph, Tensor } from "../../kernels/graph.ts";
import { adamw } from "../../kernels/ops/adamw/adamw.ts";
import { sgd } from "../../kernels/ops/sgd/sgd.ts";

/** What an optimizer reads and writes: whole segments of the arenas, so that an update is one dispatch. */
export interface OptimizerTensors {
  parameter: Tensor;
  gradient: Tensor;
  /** Its own arenas, by their names. */
  state: Readonly<Record<string, Tensor>>;
  /** [1]. */
  learningRate: Tensor;
  /** Whether these weights decay, where a rule keeps those apart that do not: see `isDecayed`. */
  decays: boolean;
  /** See `stepControl`: where gradients must be finite, are scaled or are clipped. */
  control?: Tensor;
}

/** An optimizer with its settings. */
export interface OptimizerRule {
  /** Names of the arenas that it keeps, each of the weights' size; they start from zeros. */
  readonly state: readonly string[];
  /** Whether it cannot do without {@linkcode OptimizerTensors.control}, which counts its steps. */
  readonly needsControl?: boolean;
  /** Whether weights that decay and those that do not have segments of their own; they are together where it is left out. */
  readonly separatesDecay?: boolean;
  /** Adds its update to a graph. */
  trace(graph: Graph, tensors: OptimizerTensors): void;
}

/** Settings that optimizers take. */
export interface OptimizerSettings {
  /** Of `sgd`. */
  momentum: number;
  /** Of `adamw` on weights of convolutions and linear layers alone. */
  weightDecay: number;
  /** Decay rates of `adamw`'s moments; PyTorch's where they are left out. */
  betas?: readonly [number, number];
  /** Of `adamw`; PyTorch's where it is left out. */
  epsilon?: number;
}

/** `torch.optim.SGD` with momentum and weight decay: the original's. */
function sgdRule({ momentum, weightDecay }: OptimizerSettings): OptimizerRule {
  return {
    state: ["momentum"],
    trace(graph, { parameter, gradient, state, learningRate, control }) {
      const inputs = [parameter, gradient, state.momentum, learningRate];
      graph.applyAll(sgd, control === undefined ? inputs : [...inputs, control], { momentum, weightDecay });
    },
  };
}

/** `torch.optim.AdamW`, with a group of parameters without weight decay: see `isDecayed`. */
function adamwRule(
  { weightDecay, betas = ADAMW.betas, epsilon = ADAMW.epsilon }: OptimizerSettings,
): OptimizerRule {
  return {
    state: ["exp_avg", "exp_avg_sq"],
    needsControl: true,
    separatesDecay: true,
    trace(graph, { parameter, gradient, state, learningRate, control, decays }) {
      const inputs = [parameter, gradient, state.exp_avg, state.exp_avg_sq, learningRate, control!];
      graph.applyAll(adamw, inputs, { betas, epsilon, weightDecay: decays ? weightDecay : 0 });
    },
  };
}

/** What PyTorch's AdamW has where nothing else is said: DINO's and MoCo-v3's too. */
export const ADAMW = { betas: [0.9, 0.999], epsilon: 1e-8 } as const;

const optimizers = new Map<string, (settings: OptimizerSettings) => OptimizerRule>([
  ["sgd", sgdRule],
  ["adamw", adamwRule],
]);

/** Names of all of them. */
export function optimizerNames(): string[] {
  return [...optimizers.keys()];
}

/** The optimizer of a name. @throws {UserError} that lists the known ones */
export function findOptimizer(name: string, settings: OptimizerSettings): OptimizerRule {
  const make = optimizers.get(name);
  if (make === undefined) {
    throw new UserError(`there is no optimizer "${name}"; known are ${optimizerNames().join(", ")}`);
  }
  return make(settings);
}
