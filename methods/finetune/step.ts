/**
 * One training step of a fine-tuning on the device: the encoder's forward pass with batch norm in train mode, the
 * classifier's cross-entropy, the backward pass through both, and SGD with a learning rate for each.
 */
import { differentiate } from "../../kernels/autodiff.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { byteLength, Graph, type Tensor } from "../../kernels/graph.ts";
import { unpadRows } from "../../kernels/layout.ts";
import { crossEntropy } from "../../kernels/ops/cross_entropy/cross_entropy.ts";
import { stepControl } from "../../kernels/ops/loss_scale/loss_scale.ts";
import { Program } from "../../kernels/program.ts";
import { RepeatedRun } from "../../kernels/repeated_run.ts";
import { type Encoder, traceOutputs } from "../../models/encoder.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import type { DeviceParameter, EncoderMode, StateEntry } from "../../models/encoder_layers.ts";
import { partsOf } from "../../models/encoder_parts.ts";
import { type ImageInput, type Normalization, traceImages } from "../../models/images.ts";
import type { StateValues } from "../../models/initialize.ts";
import { ParameterStore, type ReadEntry, tensorsOf } from "../../models/parameter_store.ts";
import { usualHead } from "../../models/registry.ts";
import type { BatchInGroup, GradientExchange, GradientGraph } from "../../models/training_step.ts";
import { type BatchResult, INITIAL_CLASSIFIER, padLabels, readRowStates } from "../classification.ts";
import { CompiledStep } from "../encoder_training/compiled_step.ts";
import { sharedLoss } from "../encoder_training/shared_loss.ts";
import { Staging } from "../encoder_training/staging.ts";
import { type OptimizedStepOptions, optimizerOf } from "../encoder_training/step_options.ts";
import type { StepOutcome } from "../encoder_training/step_results.ts";
import type { LearningRates } from "./options.ts";

/** An encoder with a classifier, for batches of one size. */
export interface ClassifierOptions {
  encoder: Encoder;
  /** Labels are 0 to classes - 1. */
  classes: number;
  batch: number;
  /** Side of the square images, in pixels. */
  imageSize: number;
  input?: ImageInput;
  /** Of `pixels`; ImageNet's where it is left out. */
  normalization?: Normalization;
}

/** What {@linkcode FinetuneStep.create} needs. */
export type FinetuneStepOptions = ClassifierOptions & OptimizedStepOptions & DevicesOfStep;

/** The devices that share every batch of a step. */
interface DevicesOfStep {
  /** Devices that each have `batch` images of it; 1 where it is left out. */
  ranks?: number;
  /** Take statistics of batch norm over the images of all `ranks`, which needs an exchange that gathers. */
  syncBn?: boolean;
}

/** Some images with their labels. */
export interface LabelledImages {
  /** Packed RGBA8 pixels [batch, size, size], or float32 in the device's layout for input `normalized`. */
  images: ArrayBuffer | ArrayBufferView<ArrayBuffer>;
  /** Classes [n], n at most the batch: the images behind them are not looked at. */
  labels: ArrayLike<number>;
}

/** A batch to learn from; it is full. */
export interface FinetuneBatch extends LabelledImages, LearningRates {
  /** Batches of the run before this one: chooses what dropout drops. */
  step?: number;
  /** Which of how many batches of a step it is, where they accumulate: the weights change with the last one. */
  group?: BatchInGroup;
  /** Have the step tell of itself, if the weights change with this batch. */
  takesStats?: boolean;
}

/** How a batch was classified before the step that it made, and what became of that step. */
export type FinetuneStepResult = BatchResult & StepOutcome;

/** An encoder and its classifier as a graph. */
interface TracedClassifier {
  graph: Graph;
  images: Tensor;
  labels: Tensor;
  count: Tensor;
  dropoutSeed: Tensor;
  logits: Tensor;
  loss: Tensor;
  /** See {@linkcode crossEntropy}: [batch, 4]. */
  states: Tensor;
  /** What the feature depends on, and the classifier. */
  encoder: readonly DeviceParameter[];
  classifier: readonly DeviceParameter[];
}

function trace(
  options: ClassifierOptions & DevicesOfStep & Pick<OptimizedStepOptions, "dropoutSeed" | "dropPath">,
  mode: EncoderMode,
  maxWeightBytes?: number,
): TracedClassifier {
  const { encoder, classes, batch, imageSize, input = "pixels", normalization } = options;
  const graph = new Graph();
  const dropoutSeed = graph.source("dropout seed", [2], "u32");
  const { source, images } = traceImages(graph, input, batch, imageSize, normalization);
  const labels = graph.source("labels", [batch], "u32");
  const count = graph.source("rows of the batch", [1], "u32");
  const trunk = new EncoderBuilder(graph, mode, {
    maxWeightBytes,
    dropPath: options.dropPath,
    devices: options.syncBn ? options.ranks : 1,
    ...options.dropoutSeed !== undefined && { dropoutSeed },
  });
  const { feature } = traceOutputs(encoder, trunk, images, usualHead(encoder), { readsEmbedding: false });
  graph.keepOnly(feature); // without its head, whose batch norm would go on to count
  const head = new EncoderBuilder(graph, mode, { maxWeightBytes });
  const { headDropout = 0 } = encoder;
  const kept = headDropout === 0 ? feature : trunk.dropout(feature, headDropout);
  const logits = head.convolve(kept, head.linear("fc", encoder.features, classes, INITIAL_CLASSIFIER));
  const [ownLoss, states] = graph.applyAll(crossEntropy, [logits, labels, count], {});
  const loss = sharedLoss(graph, ownLoss, options.ranks);
  return {
    graph,
    images: source,
    labels,
    count,
    dropoutSeed,
    logits,
    loss,
    states,
    encoder: trunk.parametersOf(feature),
    classifier: head.parameters,
  };
}

/** The state_dict of an encoder without its head, in PyTorch's order, and of the classifier behind it: `fc`. */
export function classifierState(
  encoder: Encoder,
  classes: number,
): { encoder: readonly StateEntry[]; classifier: readonly StateEntry[] } {
  const head = new EncoderBuilder(new Graph(), "train");
  head.linear("fc", encoder.features, classes, INITIAL_CLASSIFIER);
  return { encoder: partsOf(encoder, usualHead(encoder)).backbone, classifier: head.state };
}

/** Writes a batch for a program. */
function writeBatch(
  program: Program,
  traced: TracedClassifier,
  { images, labels }: LabelledImages,
  { batch, classes }: ClassifierOptions,
): void {
  program.write(traced.images, images);
  program.write(traced.labels, padLabels(labels, batch, classes));
  program.write(traced.count, Uint32Array.of(labels.length));
}

/** An encoder and a classifier that are trained, on one device. */
export class FinetuneStep implements Disposable {
  readonly #options: FinetuneStepOptions;
  readonly #traced: TracedClassifier;
  readonly #step: CompiledStep;

  private constructor(options: FinetuneStepOptions, traced: TracedClassifier, step: CompiledStep) {
    this.#options = options;
    this.#traced = traced;
    this.#step = step;
  }

  /**
   * Compiles the step. Load weights before the first {@linkcode train}.
   *
   * @param exchange what becomes of the gradients before the weights change; results stay those of this device
   */
  static async create(
    gpu: Gpu,
    options: FinetuneStepOptions,
    exchange?: GradientExchange,
  ): Promise<FinetuneStep> {
    const { encoder, lossScale } = options;
    const traced = trace(options, "train");
    const { graph, images, labels, count, dropoutSeed, logits, loss, states } = traced;
    const control = lossScale && stepControl(graph);
    const models = [traced.encoder, traced.classifier];
    const trained = models.map((parameters) => tensorsOf(parameters, "parameter"));
    const gradients = differentiate(graph, loss, trained.flat(), control);
    const [ofEncoder] = trained;
    const gradientGraph: GradientGraph = {
      label: `${encoder.name} fine-tuning step`,
      graph,
      inputs: [images, labels, count, dropoutSeed],
      outputs: [loss, states, logits],
      models: [
        { parameters: traced.encoder, gradients: gradients.slice(0, ofEncoder.length) },
        { parameters: traced.classifier, gradients: gradients.slice(ofEncoder.length) },
      ],
      control,
      mixedPrecision: options.mixedPrecision,
    };
    // The loss goes with every batch, so that the devices meet at each, where batches accumulate too.
    const step = await CompiledStep.create(
      gpu,
      gradientGraph,
      [states, loss],
      options,
      optimizerOf(options),
      exchange,
      [loss],
    );
    return new FinetuneStep(options, traced, step);
  }

  /** The compiled step, for the profiler: its parts in their order. */
  get programs(): readonly Program[] {
    return this.#step.training.programs;
  }

  /** Weights, running statistics and what the optimizer keeps: of the encoder, and of the classifier. */
  get stores(): readonly ParameterStore[] {
    return this.#step.training.stores;
  }

  /** Uploads encoder and classifier in PyTorch's layout. */
  async load(read: ReadEntry): Promise<void> {
    for (const store of this.stores) await store.load(read);
  }

  /** Parameters and running statistics of both by key, in PyTorch's layout. */
  save(): Promise<StateValues> {
    return this.#gather((store) => store.save());
  }

  /** Uploads an arena of the optimizer's, such as SGD's momentum, by key; what has none starts from zero. */
  loadArena(arena: string, values: ReadonlyMap<string, Float32Array>): void {
    for (const store of this.stores) store.loadArena(arena, values);
  }

  /** An arena of the optimizer's, or another one such as the gradients, by key. */
  saveArena(arena: string): Promise<StateValues> {
    return this.#gather((store) => store.saveArena(arena));
  }

  async #gather(save: (store: ParameterStore) => Promise<StateValues>): Promise<StateValues> {
    const values: StateValues = new Map();
    for (const store of this.stores) {
      for (const [key, value] of await save(store)) values.set(key, value);
    }
    return values;
  }

  /** Reads the logits of the last batch, before its step: [batch, classes]. */
  async readLogits(): Promise<Float32Array<ArrayBuffer>> {
    const { batch, classes } = this.#options;
    return unpadRows(await this.#step.training.gradientProgram.read(this.#traced.logits), [batch, classes]);
  }

  /**
   * Submits one step and returns at once with a promise of how the batch was classified before it, on this device. No more than
   * four may be awaited at a time; with an exchange of gradients, one.
   */
  train(batch: FinetuneBatch): Promise<FinetuneStepResult> {
    const { dropoutSeed = 0 } = this.#options;
    const { labels: { length: rows }, lr, lrLastLayer, group, takesStats } = batch;
    if (rows !== this.#options.batch) {
      throw new Error(`expected ${this.#options.batch} labels, got ${rows}: batch norm needs whole batches`);
    }
    const program = this.#step.training.gradientProgram;
    writeBatch(program, this.#traced, batch, this.#options);
    program.write(this.#traced.dropoutSeed, Uint32Array.of(dropoutSeed, batch.step ?? 0));
    return this.#step.submit({ learningRates: [lr, lrLastLayer], group, takesStats })
      .then(({ values: [states], ...outcome }) => ({ ...readRowStates(states, rows), ...outcome }));
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#step[Symbol.dispose]();
  }
}

/** An encoder with its classifier in eval mode, batch norm folded: what a fine-tuning is evaluated by. */
export class FrozenClassifier implements Disposable {
  readonly #options: ClassifierOptions;
  readonly #traced: TracedClassifier;
  readonly #store: ParameterStore;
  readonly #program: Program;
  readonly #run: RepeatedRun;
  readonly #staging: Staging;

  private constructor(
    gpu: Gpu,
    options: ClassifierOptions,
    traced: TracedClassifier,
    store: ParameterStore,
    program: Program,
  ) {
    this.#options = options;
    this.#traced = traced;
    this.#store = store;
    this.#program = program;
    this.#run = new RepeatedRun(gpu, [program]);
    this.#staging = new Staging(gpu, byteLength(traced.states));
  }

  /** Compiles it. Call {@linkcode load} before the first {@linkcode evaluate}. */
  static async create(gpu: Gpu, options: ClassifierOptions): Promise<FrozenClassifier> {
    const traced = trace(options, "eval", gpu.target.maxStorageBufferBindingSize);
    const { graph, images, labels, count, states, encoder, classifier } = traced;
    const store = new ParameterStore(gpu, [...encoder, ...classifier]);
    const program = await Program.compile(gpu, {
      label: `${options.encoder.name} with its classifier`,
      graph,
      inputs: [images, labels, count],
      outputs: [states],
      bound: store.bindings(),
    });
    return new FrozenClassifier(gpu, options, traced, store, program);
  }

  /** The compiled program, for the profiler. */
  get program(): Program {
    return this.#program;
  }

  /** Uploads the weights; `read` gives a state_dict entry in PyTorch's layout. */
  load(read: ReadEntry): Promise<void> {
    return this.#store.load(read);
  }

  /** Submits a batch to be classified. No more than four may be awaited at a time. */
  async evaluate(rows: LabelledImages): Promise<BatchResult> {
    writeBatch(this.#program, this.#traced, rows, this.#options);
    const range = this.#program.rangeOf(this.#traced.states);
    let copied: ReturnType<Staging["encode"]>;
    this.#run.submit((encoder) => {
      copied = this.#staging.encode(encoder, [range]);
    });
    const [states] = await this.#staging.read(copied!);
    return readRowStates(states, rows.labels.length);
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#program.destroy();
    this.#store[Symbol.dispose]();
    this.#staging[Symbol.dispose]();
  }
}
