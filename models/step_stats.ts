/** What a training step tells of itself now and then: norms by group of layers, which say early where a training goes wrong, and its time. */
import type { Gpu } from "../kernels/gpu.ts";
import { Graph, type Tensor } from "../kernels/graph.ts";
import { unpadRows } from "../kernels/layout.ts";
import { one } from "../kernels/ops/one/one.ts";
import { sumsOfSquares } from "../kernels/ops/sums_of_squares/sums_of_squares.ts";
import { type BufferRange, Program } from "../kernels/program.ts";
import type { DeviceParameter } from "./encoder_layers.ts";
import type { ParameterStore } from "./parameter_store.ts";

/** L2 norms by layer group. */
export interface LayerNorms {
  /** Norms of a step's gradients, before clipping and without the loss scale. */
  gradientNorms: Record<string, number>;
  /** Norms of the weights before that step. */
  weightNorms: Record<string, number>;
}

/** Statistics of a training step. */
export interface StepStats extends LayerNorms {
  /** Device time of the step, in seconds; `undefined` if the adapter has no timestamps, or gradients are exchanged. */
  deviceSeconds: number | undefined;
}

/**
 * Names the group of layers of every key of a state_dict: its first part, such as `layer1` or `fc`. A first part that
 * more than half of the keys begin with (`features`, `blocks`) is divided by the second: `features.3`.
 */
export function layerGroups(keys: readonly string[]): string[] {
  const first = keys.map((key) => key.split(".", 1)[0]);
  const counts = Map.groupBy(first, (name) => name);
  return keys.map((key, i) =>
    counts.get(first[i])!.length > keys.length / 2 ? key.split(".", 2).join(".") : first[i]
  );
}

/** The trained parameters of a model: those that have a norm. */
function trainedOf(parameters: readonly DeviceParameter[]): DeviceParameter[] {
  return parameters.filter(({ kind }) => kind === "parameter");
}

/** Names the group of each trained parameter of some models, which are one network: by the keys of all of them. */
export function layerGroupsOf(models: readonly (readonly DeviceParameter[])[]): string[][] {
  const keys = models.map((parameters) => trainedOf(parameters).map(({ keys }) => keys[0]));
  const groups = layerGroups(keys.flat());
  return keys.map(({ length }) => groups.splice(0, length));
}

/** L2 norms by group, of sums of squares in parts: [keys, parts]. */
function normsOf(groups: readonly string[], sums: Float32Array): Record<string, number> {
  const parts = sums.length / groups.length;
  const totals = new Map<string, number>();
  for (const [i, group] of groups.entries()) {
    const sum = sums.subarray(i * parts, (i + 1) * parts).reduce((total, part) => total + part, 0);
    totals.set(group, (totals.get(group) ?? 0) + sum);
  }
  return Object.fromEntries([...totals].map(([group, total]) => [group, Math.sqrt(total)]));
}

/** Reads the norms of a training step: a program that runs between its gradients and its optimizer when it is wanted. */
export class LayerNormReader implements Disposable {
  /** To be run after the gradients are there, and before the weights change. */
  readonly program: Program;
  readonly #groups: readonly string[];
  readonly #gradients: Tensor;
  readonly #weights: Tensor;

  private constructor(program: Program, groups: readonly string[], gradients: Tensor, weights: Tensor) {
    this.program = program;
    this.#groups = groups;
    this.#gradients = gradients;
    this.#weights = weights;
  }

  /**
   * Compiles it.
   *
   * @param parameters of the model; those that are trained are looked at
   * @param groups group of each of these
   * @param arena name of that of the gradients in `store`
   * @param control the step's control, whose first number the gradients are scaled by; not scaled where it is left out
   */
  static async create(
    gpu: Gpu,
    store: ParameterStore,
    parameters: readonly DeviceParameter[],
    { groups, arena, control }: { groups: readonly string[]; arena: string; control?: GPUBuffer },
  ): Promise<LayerNormReader> {
    const graph = new Graph();
    const bound = new Map<Tensor, BufferRange>();
    const trained = trainedOf(parameters);
    const source = (label: string, range: BufferRange) => {
      const tensor = graph.source(label, [range.bytes / 4]);
      bound.set(tensor, range);
      return tensor;
    };
    const unit = graph.apply(one, [], {});
    const scale = control === undefined ? unit : source("step control", {
      buffer: control,
      offset: 0,
      bytes: control.size,
    });
    const sums = (divisor: Tensor, arena?: string) =>
      graph.apply(
        sumsOfSquares,
        [divisor, ...trained.map(({ tensor, keys }) => source(keys[0], store.rangeOf(tensor, arena)))],
        {},
      );
    const gradients = sums(scale, arena);
    const weights = sums(unit);
    const program = await Program.compile(gpu, {
      label: "norms",
      graph,
      inputs: [],
      outputs: [gradients, weights],
      bound,
    });
    return new LayerNormReader(program, groups, gradients, weights);
  }

  /** The norms of the last run. */
  async read(): Promise<LayerNorms> {
    const [gradientNorms, weightNorms] = await Promise.all(
      [this.#gradients, this.#weights].map(async (tensor) =>
        normsOf(this.#groups, unpadRows(await this.program.read(tensor), tensor.shape))
      ),
    );
    return { gradientNorms, weightNorms };
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.program.destroy();
  }
}
