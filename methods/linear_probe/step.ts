/**
 * The linear probe that frozen features are evaluated by: one fully connected layer, trained by SGD with momentum on the
 * cross-entropy of its logits (MoCo's protocol, the original's `main_lincls.py`). Several are trained side by side on
 * the same batches, each at a learning rate of its own.
 */
import { differentiate } from "../../kernels/autodiff.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { byteLength, Graph, padTo4, type Tensor } from "../../kernels/graph.ts";
import { padRows } from "../../kernels/layout.ts";
import { crossEntropy } from "../../kernels/ops/cross_entropy/cross_entropy.ts";
import { Program, runPrograms } from "../../kernels/program.ts";
import { readStaging } from "../../kernels/readback.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import type { StateEntry } from "../../models/encoder_layers.ts";
import type { StateValues } from "../../models/initialize.ts";
import { findOptimizer } from "../../models/optim/optimizers.ts";
import { type ParameterStore, type ReadEntry, tensorsOf } from "../../models/parameter_store.ts";
import { type GradientExchange, TrainingStep } from "../../models/training_step.ts";
import { type BatchResult, INITIAL_CLASSIFIER, padLabels, readRowStates } from "../classification.ts";

/** What {@linkcode LinearProbes.create} needs. */
export interface LinearProbesOptions {
  /** Length of a feature. */
  features: number;
  /** Labels are 0 to classes - 1. */
  classes: number;
  /** Rows of a batch; a batch may have fewer. */
  batch: number;
  /** How many are trained side by side. */
  probes: number;
  momentum: number;
  weightDecay: number;
}

/** Some rows with their labels. */
export interface LabelledRows {
  /** Features [n, features], n at most the batch. */
  features: Float32Array;
  /** Classes [n]. */
  labels: ArrayLike<number>;
}

/** Batches whose results can be on their way back from the device at once. */
const SLOTS = 4;

/** The tensors that the host writes. */
interface ProbeInputs {
  features: Tensor;
  labels: Tensor;
  count: Tensor;
}

/** A program over all probes, and the rows' states of each. */
interface ProbeProgram {
  program: Program;
  inputs: ProbeInputs;
  /** See {@linkcode crossEntropy}: [batch, 4] of each probe. */
  states: readonly Tensor[];
}

interface TracedProbes {
  graph: Graph;
  inputs: ProbeInputs;
  probes: { builder: EncoderBuilder; loss: Tensor; state: Tensor }[];
}

function trace({ features: length, classes, batch, probes }: LinearProbesOptions): TracedProbes {
  const graph = new Graph();
  const inputs = {
    features: graph.source("features", [batch, 1, 1, length]),
    labels: graph.source("labels", [batch], "u32"),
    count: graph.source("rows of the batch", [1], "u32"),
  };
  const traced = Array.from({ length: probes }, () => {
    const builder = new EncoderBuilder(graph, "train");
    const fc = builder.linear("fc", length, classes, INITIAL_CLASSIFIER);
    const logits = builder.convolve(inputs.features, fc);
    const [loss, state] = graph.applyAll(crossEntropy, [logits, inputs.labels, inputs.count], {});
    return { builder, loss, state };
  });
  return { graph, inputs, probes: traced };
}

/** Linear classifiers on one device. */
export class LinearProbes implements Disposable {
  /** The state_dict of each: `fc.weight` [classes, features] and `fc.bias` [classes]. */
  readonly state: readonly StateEntry[];
  readonly #gpu: Gpu;
  readonly #options: LinearProbesOptions;
  readonly #step: TrainingStep;
  readonly #training: ProbeProgram;
  readonly #evaluation: ProbeProgram;
  readonly #staging: GPUBuffer[];
  /** Rows that a batch has at least: none where other devices have the others. */
  readonly #leastRows: number;
  #batches = 0;

  private constructor(
    gpu: Gpu,
    options: LinearProbesOptions,
    state: readonly StateEntry[],
    step: TrainingStep,
    training: ProbeProgram,
    evaluation: ProbeProgram,
    leastRows: number,
  ) {
    this.#gpu = gpu;
    this.#leastRows = leastRows;
    this.#options = options;
    this.state = state;
    this.#step = step;
    this.#training = training;
    this.#evaluation = evaluation;
    this.#staging = Array.from({ length: SLOTS }, () =>
      gpu.device.createBuffer({
        label: "results",
        size: options.probes * options.batch * 16,
        usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
      }));
  }

  /**
   * Compiles training and evaluation. Load weights before the first batch.
   *
   * @param exchange sums the gradients with those of other devices, which have other rows of each batch
   */
  static async create(
    gpu: Gpu,
    options: LinearProbesOptions,
    exchange?: GradientExchange,
  ): Promise<LinearProbes> {
    const { momentum, weightDecay } = options;
    const { graph, inputs, probes } = trace(options);
    const states = probes.map(({ state }) => state);
    const step = await TrainingStep.create(
      gpu,
      {
        label: "linear probes, training step",
        graph,
        inputs: Object.values(inputs),
        outputs: [...probes.map(({ loss }) => loss), ...states],
        models: probes.map(({ builder: { parameters }, loss }) => ({
          parameters,
          gradients: differentiate(graph, loss, tensorsOf(parameters, "parameter")),
        })),
      },
      { rule: findOptimizer("sgd", { momentum, weightDecay }) },
      exchange,
    );

    // The same once more without what changes the weights.
    const evaluated = trace(options);
    const weights = evaluated.probes.flatMap(({ builder }, p) =>
      builder.parameters.map(({ tensor }, i) =>
        [tensor, step.stores[p].rangeOf(probes[p].builder.parameters[i].tensor)] as const
      )
    );
    const evaluatedStates = evaluated.probes.map(({ state }) => state);
    const evaluation = await Program.compile(gpu, {
      label: "linear probes, evaluation",
      graph: evaluated.graph,
      inputs: Object.values(evaluated.inputs),
      outputs: evaluatedStates,
      bound: new Map(weights),
    });
    return new LinearProbes(
      gpu,
      options,
      probes[0].builder.state,
      step,
      { program: step.gradientProgram, inputs, states },
      { program: evaluation, inputs: evaluated.inputs, states: evaluatedStates },
      exchange === undefined ? 1 : 0,
    );
  }

  /** The weights and the optimizer's state of every probe. */
  get stores(): readonly ParameterStore[] {
    return this.#step.stores;
  }

  /** Uploads the weights of one probe in PyTorch's layout. */
  load(probe: number, read: ReadEntry): Promise<void> {
    return this.#step.stores[probe].load(read);
  }

  /** Uploads the momentum of one probe by key. */
  loadMomentum(probe: number, values: ReadonlyMap<string, Float32Array>): void {
    this.#step.stores[probe].loadArena("momentum", values);
  }

  /** The weights of one probe in PyTorch's layout. */
  save(probe: number): Promise<StateValues> {
    return this.#step.stores[probe].save();
  }

  /** The momentum of one probe by key. */
  saveMomentum(probe: number): Promise<StateValues> {
    return this.#step.stores[probe].saveArena("momentum");
  }

  /**
   * Submits one step of SGD for every probe, and returns at once with a promise of how they did before it, in their
   * order. No more than four batches may be awaited at a time; with an exchange, one.
   *
   * @param learningRates one a probe
   */
  train(rows: LabelledRows, learningRates: readonly number[]): Promise<BatchResult[]> {
    return this.#run(this.#training, rows, (finish) => this.#step.submit({ learningRates }, finish));
  }

  /** Submits a batch to be evaluated, as {@linkcode train} does, and changes nothing. */
  evaluate(rows: LabelledRows): Promise<BatchResult[]> {
    return this.#run(
      this.#evaluation,
      rows,
      (finish) => void runPrograms(this.#gpu, [this.#evaluation.program], finish),
    );
  }

  #run(
    { program, inputs, states }: ProbeProgram,
    { features, labels }: LabelledRows,
    submit: (finish: (encoder: GPUCommandEncoder) => void) => Promise<void> | void,
  ): Promise<BatchResult[]> {
    const { features: length, batch, classes } = this.#options;
    const rows = labels.length;
    const least = this.#leastRows;
    if (rows < least || rows > batch || features.length !== rows * length) {
      throw new Error(
        `expected ${least} to ${batch} labels and as many features of ${length}, got ${rows} and ${features.length}`,
      );
    }
    const classesOf = padLabels(labels, batch, classes);
    const padded = new Float32Array(batch * padTo4(length));
    padded.set(padRows(features, [rows, length]));
    program.write(inputs.features, padded);
    program.write(inputs.labels, classesOf);
    // Where there is none, one of zeros, whose gradients are finite.
    program.write(inputs.count, Uint32Array.of(Math.max(1, rows)));

    const staging = this.#staging[this.#batches++ % SLOTS];
    const submitted = submit((encoder) => {
      for (const [i, state] of states.entries()) {
        const { buffer, offset, bytes } = program.rangeOf(state);
        encoder.copyBufferToBuffer(buffer, offset, staging, i * byteLength(state), bytes);
      }
    });
    return submitted === undefined
      ? this.#readResults(staging, rows)
      : submitted.then(() => this.#readResults(staging, rows));
  }

  async #readResults(staging: GPUBuffer, rows: number): Promise<BatchResult[]> {
    const { probes, batch } = this.#options;
    return await readStaging(this.#gpu, staging, (read) => {
      const states = new Float32Array(read);
      return Array.from(
        { length: probes },
        (_, probe) => readRowStates(states.subarray(probe * batch * 4), rows),
      );
    });
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#evaluation.program.destroy();
    this.#step[Symbol.dispose]();
    for (const buffer of this.#staging) buffer.destroy();
  }
}
