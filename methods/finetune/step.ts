/**
 * One training step of a fine-tuning on the device: the encoder's forward pass with batch norm in train mode, the
 * classifier's cross-entropy, the backward pass through both, and SGD with a learning rate for each.
 */
import { differentiate } from "../../kernels/autodiff.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { byteLength, Graph, type Tensor } from "../../kernels/graph.ts";
import { unpadRows } from "../../kernels/layout.ts";
import { crossEntropy } from "../../kernels/ops/cross_entropy/cross_entropy.ts";
import {
  GRAD_SCALER,
  type LossScale,
  type LossScaleRule,
  stepControl,
  unpackStepControl,
} from "../../kernels/ops/loss_scale/loss_scale.ts";
import { Program, runPrograms } from "../../kernels/program.ts";
import type { Encoder } from "../../models/encoder.ts";
import {
  type DeviceParameter,
  EncoderBuilder,
  type EncoderMode,
  type StateEntry,
} from "../../models/encoder_builder.ts";
import { partsOf } from "../../models/encoder_parts.ts";
import { type ImageInput, type Normalization, traceImages } from "../../models/images.ts";
import type { StateValues } from "../../models/initialize.ts";
import { findOptimizer } from "../../models/optim/optimizers.ts";
import { ParameterStore, type ReadEntry, tensorsOf } from "../../models/parameter_store.ts";
import { usualHead } from "../../models/registry.ts";
import { type GradientGraph, TrainingStep } from "../../models/training_step.ts";
import { type BatchResult, INITIAL_CLASSIFIER, padLabels, readRowStates } from "../classification.ts";
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
  /** Keep maps of pixels in float16, which not every adapter can. To train so needs a `lossScale`. */
  mixedPrecision?: boolean;
}

/** What {@linkcode FinetuneStep.create} needs. */
export interface FinetuneStepOptions extends ClassifierOptions {
  momentum: number;
  weightDecay: number;
  /**
   * What loss scaling starts from; gradients are not scaled where it is left out. A step whose gradients are not all finite
   * changes no weights, with it or without.
   */
  lossScale?: LossScale;
  /** How the scale changes; by GradScaler's rule where it is left out. */
  lossScaleRule?: LossScaleRule;
  /** Seed of dropout and drop-connect, where the encoder has them; both are off where it is left out. */
  dropoutSeed?: number;
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
}

/** How a batch was classified before the step that it made. */
export interface FinetuneStepResult extends BatchResult {
  /** Whether the step changed the weights: not where a gradient is NaN or infinite. */
  isApplied: boolean;
  /** Loss scaling after the step, where there is any. */
  lossScale?: LossScale;
}

/** Batches whose results can be on their way back from the device at once. */
const SLOTS = 4;

/** Bytes of a row's state, and of the step's control behind those of a batch. */
const ROW_BYTES = 16;
const CONTROL_BYTES = 32;

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
  options: ClassifierOptions & { dropoutSeed?: number },
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
    ...options.dropoutSeed !== undefined && { dropoutSeed },
  });
  const { feature } = encoder.trace(trunk, images, usualHead(encoder));
  const head = new EncoderBuilder(graph, mode, { maxWeightBytes });
  const logits = head.convolve(feature, head.linear("fc", encoder.features, classes, INITIAL_CLASSIFIER));
  const [loss, states] = graph.applyAll(crossEntropy, [logits, labels, count], {});
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

/** Buffers that results come back by, in turn. */
class Staging implements Disposable {
  readonly #buffers: readonly GPUBuffer[];
  #used = 0;

  constructor(gpu: Gpu, size: number) {
    this.#buffers = Array.from({ length: SLOTS }, () =>
      gpu.device.createBuffer({
        label: "results",
        size,
        usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
      }));
  }

  next(): GPUBuffer {
    return this.#buffers[this.#used++ % SLOTS];
  }

  [Symbol.dispose](): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }
}

async function readStaging(gpu: Gpu, staging: GPUBuffer): Promise<Float32Array> {
  await gpu.wait(staging.mapAsync(GPUMapMode.READ));
  const values = new Float32Array(staging.getMappedRange().slice(0));
  staging.unmap();
  return values;
}

/** An encoder and a classifier that are trained, on one device. */
export class FinetuneStep implements Disposable {
  readonly #gpu: Gpu;
  readonly #options: FinetuneStepOptions;
  readonly #traced: TracedClassifier;
  readonly #step: TrainingStep;
  readonly #staging: Staging;

  private constructor(
    gpu: Gpu,
    options: FinetuneStepOptions,
    traced: TracedClassifier,
    step: TrainingStep,
  ) {
    this.#gpu = gpu;
    this.#options = options;
    this.#traced = traced;
    this.#step = step;
    this.#staging = new Staging(gpu, ROW_BYTES * options.batch + CONTROL_BYTES);
  }

  /** Compiles the step. Load weights before the first {@linkcode train}. */
  static async create(gpu: Gpu, options: FinetuneStepOptions): Promise<FinetuneStep> {
    const { encoder, momentum, weightDecay, lossScale, lossScaleRule = GRAD_SCALER } = options;
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
    const step = await TrainingStep.create(gpu, gradientGraph, {
      rule: findOptimizer("sgd", { momentum, weightDecay }),
      isChecked: true,
      ...lossScale && { lossScale, lossScaleRule },
    });
    return new FinetuneStep(gpu, options, traced, step);
  }

  /** Uploads encoder and classifier in PyTorch's layout. */
  async load(read: ReadEntry): Promise<void> {
    for (const store of this.#step.stores) await store.load(read);
  }

  /** Parameters and running statistics of both by key, in PyTorch's layout. */
  save(): Promise<StateValues> {
    return this.#gather((store) => store.save());
  }

  /** Uploads SGD's momentum by key; what has none starts from zero. */
  loadMomentum(values: ReadonlyMap<string, Float32Array>): void {
    for (const store of this.#step.stores) store.loadArena("momentum", values);
  }

  /** SGD's momentum, or another arena such as the gradients, by key. */
  saveArena(arena: string): Promise<StateValues> {
    return this.#gather((store) => store.saveArena(arena));
  }

  async #gather(save: (store: ParameterStore) => Promise<StateValues>): Promise<StateValues> {
    const values: StateValues = new Map();
    for (const store of this.#step.stores) {
      for (const [key, value] of await save(store)) values.set(key, value);
    }
    return values;
  }

  /** Reads the logits of the last batch, before its step: [batch, classes]. */
  async readLogits(): Promise<Float32Array<ArrayBuffer>> {
    const { batch, classes } = this.#options;
    return unpadRows(await this.#step.gradientProgram.read(this.#traced.logits), [batch, classes]);
  }

  /**
   * Submits one step and returns at once with a promise of how the batch was classified before it. No more than four may be
   * awaited at a time.
   */
  train(batch: FinetuneBatch): Promise<FinetuneStepResult> {
    const { dropoutSeed = 0 } = this.#options;
    const rows = batch.labels.length;
    if (rows !== this.#options.batch) {
      throw new Error(`expected ${this.#options.batch} labels, got ${rows}: batch norm needs whole batches`);
    }
    const program = this.#step.gradientProgram;
    writeBatch(program, this.#traced, batch, this.#options);
    program.write(this.#traced.dropoutSeed, Uint32Array.of(dropoutSeed, batch.step ?? 0));
    const staging = this.#staging.next();
    this.#step.submit({ learningRates: [batch.lr, batch.lrLastLayer] }, (encoder) => {
      const { buffer, offset, bytes } = program.rangeOf(this.#traced.states);
      encoder.copyBufferToBuffer(buffer, offset, staging, 0, bytes);
      encoder.copyBufferToBuffer(this.#step.control, 0, staging, bytes, CONTROL_BYTES);
    });
    return this.#read(staging, rows);
  }

  async #read(staging: GPUBuffer, rows: number): Promise<FinetuneStepResult> {
    const values = await readStaging(this.#gpu, staging);
    const { lossScale, isApplied } = unpackStepControl(
      values.subarray(byteLength(this.#traced.states) / 4),
    );
    return { ...readRowStates(values, rows), isApplied, ...this.#options.lossScale && { lossScale } };
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#step[Symbol.dispose]();
    this.#staging[Symbol.dispose]();
  }
}

/** An encoder with its classifier in eval mode, batch norm folded: what a fine-tuning is evaluated by. */
export class FrozenClassifier implements Disposable {
  readonly #gpu: Gpu;
  readonly #options: ClassifierOptions;
  readonly #traced: TracedClassifier;
  readonly #store: ParameterStore;
  readonly #program: Program;
  readonly #staging: Staging;

  private constructor(
    gpu: Gpu,
    options: ClassifierOptions,
    traced: TracedClassifier,
    store: ParameterStore,
    program: Program,
  ) {
    this.#gpu = gpu;
    this.#options = options;
    this.#traced = traced;
    this.#store = store;
    this.#program = program;
    this.#staging = new Staging(gpu, ROW_BYTES * options.batch);
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
      mixedPrecision: options.mixedPrecision,
    });
    return new FrozenClassifier(gpu, options, traced, store, program);
  }

  /** Uploads the weights; `read` gives a state_dict entry in PyTorch's layout. */
  load(read: ReadEntry): Promise<void> {
    return this.#store.load(read);
  }

  /** Submits a batch to be classified. No more than four may be awaited at a time. */
  async evaluate(rows: LabelledImages): Promise<BatchResult> {
    writeBatch(this.#program, this.#traced, rows, this.#options);
    const staging = this.#staging.next();
    runPrograms(this.#gpu, [this.#program], (encoder) => {
      const { buffer, offset, bytes } = this.#program.rangeOf(this.#traced.states);
      encoder.copyBufferToBuffer(buffer, offset, staging, 0, bytes);
    });
    return readRowStates(await readStaging(this.#gpu, staging), rows.labels.length);
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#program.destroy();
    this.#store[Symbol.dispose]();
    this.#staging[Symbol.dispose]();
  }
}
