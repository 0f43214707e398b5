/**
 * One training step of SEED on the device: the student's forward pass, the loss against the queue as it was before
 * this batch, the backward pass, SGD, and the enqueueing of the batch's teacher embeddings.
 */
import type { LocalViewOptions } from "../../actors/messages.ts";
import { differentiate } from "../../kernels/autodiff.ts";
import { type Gpu, readBuffer, type Target } from "../../kernels/gpu.ts";
import { Graph, padTo4, type Tensor } from "../../kernels/graph.ts";
import { padRows, unpadRows } from "../../kernels/layout.ts";
import { l2Normalize } from "../../kernels/ops/l2_normalize/l2_normalize.ts";
import {
  GRAD_SCALER,
  type LossScale,
  type LossScaleRule,
  stepControl,
  unpackStepControl,
} from "../../kernels/ops/loss_scale/loss_scale.ts";
import type { Program } from "../../kernels/program.ts";
import { recomputeActivations } from "../../kernels/recompute.ts";
import type { Schedule } from "../../kernels/schedule.ts";
import { EncoderBuilder, type StateEntry } from "../../models/encoder_builder.ts";
import type { HeadOptions } from "../../models/heads.ts";
import { type ImageInput, traceImages } from "../../models/images.ts";
import { DEFAULT_LOSS, findLoss } from "../../models/loss/losses.ts";
import { findOptimizer } from "../../models/optim/optimizers.ts";
import type { StepStats } from "../../models/step_stats.ts";
import { type ParameterStore, tensorsOf } from "../../models/parameter_store.ts";
import { QueueSimilarities } from "../../models/queue_similarities.ts";
import type { Encoder } from "../../models/encoder.ts";
import { ringPieces } from "../../models/ring.ts";
import {
  type BatchInGroup,
  type GradientExchange,
  type GradientGraph,
  type OptimizerOptions,
  scheduleTrainingStep,
  TrainingStep,
  WHOLE,
} from "../../models/training_step.ts";

/** What {@linkcode StudentStep.create} needs. */
export interface StudentStepOptions {
  encoder: Encoder;
  head: HeadOptions;
  batch: number;
  /** Side of the square images, in pixels. */
  imageSize: number;
  input?: ImageInput;
  /** Rows of the queue; a multiple of the batch. */
  queueSize: number;
  /** Student temperature, `--temp`. */
  temperature: number;
  /** Teacher temperature, `--distill-t`. */
  teacherTemperature: number;
  momentum: number;
  weightDecay: number;
  /** Batches whose gradients make one step, as one batch of all their images would; 1 where it is left out. */
  accumulate?: number;
  /** L2 norm that the gradients of all weights together are clipped to; they are not where it is left out. */
  clipNorm?: number;
  /** Small views of the same images, with a queue of their own, as the original's main_small-patch.py has them. */
  local?: LocalViewOptions;
  /** Compute activations again for the backward pass, block by block, instead of keeping them. */
  checkpointActivations?: boolean;
  /** Keep maps of pixels in float16, which not every adapter can. It needs a `lossScale`. */
  mixedPrecision?: boolean;
  /**
   * What loss scaling starts from; gradients are not scaled where it is left out. A step whose gradients are not all finite
   * changes no weights, with it or without.
   */
  lossScale?: LossScale;
  /** How the scale changes; by GradScaler's rule where it is left out. */
  lossScaleRule?: LossScaleRule;
  /** Name of the loss; SEED's where it is left out. */
  loss?: string;
  /** Whether a step can tell of itself: norms by group of layers, and its time. */
  hasStats?: boolean;
  /** Seed of dropout and drop-connect, where the encoder has them; both are off where it is left out. */
  dropoutSeed?: number;
}

/** One batch. */
export interface StudentBatch {
  /** Packed RGBA8 pixels, or float32 in the device's layout for input `normalized`. */
  images: ArrayBuffer | ArrayBufferView<ArrayBuffer>;
  /** L2-normalised teacher embeddings [batch, dimension]. */
  teacher: Float32Array;
  /** The same of the small views, all of an image one after the other: [batch * views, ...]. */
  local?: { images: ArrayBuffer | ArrayBufferView<ArrayBuffer>; teacher: Float32Array };
  learningRate: number;
  /** Row of the queue that the batch's first embedding replaces; of the small queue, that of its first small view. */
  queuePointer: number;
  /** Batches of the run before this one: chooses what dropout drops. */
  step?: number;
  /** Which of how many batches of a step it is, where they accumulate: the weights and queues change with the last one. */
  group?: BatchInGroup;
  /** Have the step tell of itself, if the weights change with this batch. */
  takesStats?: boolean;
}

/** Losses of a step: their sum is what is trained on. */
export interface StepLoss {
  loss: number;
  /** Of the images' own views. */
  main: number;
  /** Of the small views; 0 where there are none. */
  local: number;
  /** Whether it changed the weights: not where a gradient is NaN or infinite. */
  isApplied: boolean;
  /** Loss scaling after the step, where there is any. */
  lossScale?: LossScale;
  /** What the step tells of itself, where that was asked for. */
  stats?: StepStats;
}

/** What a set of views needs in the program. */
interface ViewTensors {
  /** Written by the host. */
  images: Tensor;
  teacher: Tensor;
  /** Computed. */
  embedding: Tensor;
  loss: Tensor;
  /** The views' queue, and which of an image's views goes into it: every how many rows. */
  queue: Tensor;
  stride: number;
}

/** The first part of a step as a graph, before there is a device. */
interface TracedStep extends GradientGraph {
  /** The images' own views, and the small ones. */
  sets: readonly ViewTensors[];
  dropoutSeed: Tensor;
  /** The state_dict, in PyTorch's order. */
  entries: readonly StateEntry[];
}

function traceStep(options: StudentStepOptions): TracedStep {
  const { encoder, head, batch, imageSize, input = "pixels", queueSize, local } = options;
  const { temperature, teacherTemperature, mixedPrecision } = options;
  const graph = new Graph();
  const dropoutSeed = graph.source("dropout seed", [2], "u32");
  const withDropout = options.dropoutSeed === undefined ? {} : { dropoutSeed };

  // The student runs once over each set of views, so that batch norm sees batches of their own.
  const traceSet = (name: string, views: number, size: number, share?: EncoderBuilder) => {
    const rows = batch * views;
    const { source, images } = traceImages(graph, input, rows, size);
    const teacher = graph.source(`teacher embeddings${name}`, [rows, 1, 1, head.dimension]);
    const queue = graph.source(`queue${name}`, [1, 1, padTo4(queueSize), head.dimension]);
    const builder = new EncoderBuilder(graph, "train", { ...withDropout, share });
    const outputs = encoder.trace(builder, images, head);
    const embedding = graph.apply(l2Normalize, [outputs.embedding], {});
    const losses = { student: embedding, teacher, queue, queueSize, temperature, teacherTemperature };
    const loss = findLoss(options.loss ?? DEFAULT_LOSS)(graph, losses);
    return { builder, set: { images: source, teacher, embedding, loss, queue, stride: views } };
  };
  const main = traceSet("", 1, imageSize);
  const { builder: { parameters, state } } = main;
  const sets = local === undefined
    ? [main.set]
    : [main.set, traceSet(" of small views", local.views, local.imageSize, main.builder).set];

  const trained = tensorsOf(parameters, "parameter");
  const forward = graph.nodes.length;
  const control = options.lossScale && stepControl(graph);
  const gradients = differentiate(graph, sets.map(({ loss }) => loss), trained, control);
  if (options.checkpointActivations) recomputeActivations(graph, forward);
  return {
    label: `${encoder.name} training step`,
    graph,
    inputs: [...sets.flatMap(({ images, teacher }) => [images, teacher]), dropoutSeed],
    outputs: [...sets.map(({ loss }) => loss), ...sets.map(({ embedding }) => embedding)],
    models: [{ parameters, gradients }],
    state: sets.map(({ queue }) => queue),
    control,
    mixedPrecision,
    sets,
    dropoutSeed,
    entries: state,
  };
}

function optimizerOf(options: StudentStepOptions): OptimizerOptions {
  const {
    momentum,
    weightDecay,
    lossScale,
    lossScaleRule = GRAD_SCALER,
    accumulate = 1,
    clipNorm,
    hasStats,
  } = options;
  return {
    rule: findOptimizer("sgd", { momentum, weightDecay }),
    isChecked: true,
    ...lossScale && { lossScale, lossScaleRule },
    clipNorm,
    accumulates: accumulate > 1,
    hasStats,
  };
}

/** The dispatches of a step and its memory, program by program, without a device: what it would be on such a target. */
export function scheduleStep(target: Target, options: StudentStepOptions): Schedule[] {
  return scheduleTrainingStep(target, traceStep(options), optimizerOf(options));
}

/** Losses that can be on their way back from the device at once. */
const LOSS_SLOTS = 4;

/** Bytes that are read back of each loss of a step, and of the step's control behind them. */
const LOSS_BYTES = 16;
const CONTROL_BYTES = 32;

/** The student, its optimizer and the queue, on one device. */
export class StudentStep implements Disposable {
  /** The student's state_dict, in PyTorch's order. */
  readonly state: readonly StateEntry[];
  readonly #gpu: Gpu;
  readonly #options: StudentStepOptions;
  readonly #step: TrainingStep;
  readonly #staging: GPUBuffer[];
  readonly #sets: readonly ViewTensors[];
  readonly #dropoutSeed: Tensor;
  /** Keys of each set that wait for their step's last batch, where batches accumulate. */
  readonly #waiting: readonly GPUBuffer[];
  /** Made when it is first asked for. */
  #similarities: Promise<QueueSimilarities> | undefined;
  #steps = 0;

  private constructor(gpu: Gpu, options: StudentStepOptions, traced: TracedStep, step: TrainingStep) {
    const { accumulate = 1, batch, head } = options;
    this.#gpu = gpu;
    this.#options = options;
    this.state = traced.entries;
    this.#step = step;
    this.#sets = traced.sets;
    this.#dropoutSeed = traced.dropoutSeed;
    this.#waiting = accumulate === 1 ? [] : traced.sets.map(() =>
      gpu.device.createBuffer({
        label: "keys of a step",
        size: accumulate * batch * padTo4(head.dimension) * 4,
        usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
      })
    );
    this.#staging = Array.from({ length: LOSS_SLOTS }, () =>
      gpu.device.createBuffer({
        label: "loss",
        size: LOSS_BYTES * traced.sets.length + CONTROL_BYTES,
        usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
      }));
  }

  /**
   * Compiles the step. Load weights and queues before the first {@linkcode run}.
   *
   * @param exchange what becomes of the gradients before the weights change
   */
  static async create(
    gpu: Gpu,
    options: StudentStepOptions,
    exchange?: GradientExchange,
  ): Promise<StudentStep> {
    const { accumulate = 1, batch, queueSize } = options;
    if (accumulate * batch > queueSize) {
      throw new Error(
        `the keys of a step, ${accumulate} x ${batch}, do not fit into a queue of ${queueSize} rows`,
      );
    }
    const traced = traceStep(options);
    const step = await TrainingStep.create(gpu, traced, optimizerOf(options), exchange);
    return new StudentStep(gpu, options, traced, step);
  }

  /** The student's weights, gradients and momentum. */
  get parameters(): ParameterStore {
    return this.#step.stores[0];
  }

  /** The compiled step, for the profiler: its parts in their order. */
  get programs(): readonly Program[] {
    return this.#step.programs;
  }

  #queue(which: number): GPUBuffer {
    return this.#step.bufferOf(this.#sets[which].queue);
  }

  /** Replaces a whole queue: [queueSize, dimension]; `which` is 0 for the main views', 1 for the small ones'. */
  loadQueue(values: Float32Array, which = 0): void {
    const { queueSize, head } = this.#options;
    const rows = padRows(values, [queueSize, head.dimension]);
    this.#gpu.device.queue.writeBuffer(this.#queue(which), 0, rows);
  }

  /** Reads a queue back: [queueSize, dimension]. */
  async readQueue(which = 0): Promise<Float32Array<ArrayBuffer>> {
    const { queueSize, head } = this.#options;
    const padded = new Float32Array(await readBuffer(this.#gpu, this.#queue(which)));
    return unpadRows(padded.subarray(0, queueSize * padTo4(head.dimension)), [queueSize, head.dimension]);
  }

  /** Reads the student's L2-normalised embeddings of the last batch: [batch, dimension]. */
  async readEmbeddings(): Promise<Float32Array<ArrayBuffer>> {
    const { batch, head } = this.#options;
    const [{ embedding }] = this.#sets;
    return unpadRows(await this.#step.gradientProgram.read(embedding), [batch, head.dimension]);
  }

  /**
   * Cosines [2, queueSize] of two L2-normalised embeddings [2, dimension] with the keys of the main views' queue as it is
   * now.
   */
  async compareWithQueue(pair: Float32Array): Promise<Float32Array<ArrayBuffer>> {
    const { queueSize, head: { dimension } } = this.#options;
    this.#similarities ??= QueueSimilarities.create(this.#gpu, this.#queue(0), {
      rows: 2,
      queueSize,
      dimension,
    });
    return await (await this.#similarities).compare(pair);
  }

  /**
   * Submits one step and returns at once with a promise of its losses, so that the next step can be submitted while
   * they are on their way. No more than four may be awaited at a time; with an exchange of gradients, one.
   */
  run(batch: StudentBatch): Promise<StepLoss> {
    const { head, dropoutSeed = 0 } = this.#options;
    const { queuePointer, learningRate, group = WHOLE } = batch;
    const takesStats = batch.takesStats === true && group.index === group.size - 1;
    const { accumulate = 1 } = this.#options;
    if (group.size > accumulate) {
      throw new Error(`a group of ${group.size} batches, of a step that accumulates ${accumulate}`);
    }
    const program = this.#step.gradientProgram;
    for (const [i, { images, teacher }] of this.#sets.entries()) {
      const views = i === 0 ? batch : batch.local!;
      program.write(images, views.images);
      program.write(teacher, padRows(views.teacher, [teacher.shape[0], head.dimension]));
    }
    program.write(this.#dropoutSeed, Uint32Array.of(dropoutSeed, batch.step ?? 0));
    const staging = this.#staging[this.#steps++ % LOSS_SLOTS];
    const submitted = this.#step.submit({ learningRates: [learningRate], group, takesStats }, (encoder) => {
      for (const [i, set] of this.#sets.entries()) {
        this.#encodeEnqueue(encoder, i, queuePointer, group);
        const loss = program.rangeOf(set.loss);
        encoder.copyBufferToBuffer(loss.buffer, loss.offset, staging, LOSS_BYTES * i, LOSS_BYTES);
      }
      encoder.copyBufferToBuffer(
        this.#step.control,
        0,
        staging,
        LOSS_BYTES * this.#sets.length,
        CONTROL_BYTES,
      );
    });
    const read = async () => {
      const loss = this.#readLoss(staging, group);
      const stats = takesStats ? this.#step.readStats() : undefined; // their copies are behind this very step
      return { ...await loss, ...takesStats && { stats: await stats } };
    };
    return submitted === undefined ? read() : submitted.then(read);
  }

  /**
   * The teacher's embeddings go into the queue, of several views of an image the first one's. Those of batches that
   * accumulate wait for the last one, since all are compared with the queue as it was before the step.
   */
  #encodeEnqueue(
    encoder: GPUCommandEncoder,
    which: number,
    pointer: number,
    { index, size }: BatchInGroup,
  ): void {
    const { batch, head, queueSize, accumulate = 1 } = this.#options;
    const { teacher, stride } = this.#sets[which];
    const { buffer, offset } = this.#step.gradientProgram.rangeOf(teacher);
    const rowBytes = padTo4(head.dimension) * 4;
    const copyKeys = (target: GPUBuffer, row: number, to: number, count: number) => {
      const [rows, each] = stride === 1 ? [1, count] : [count, 1];
      for (let i = 0; i < rows; i++) {
        const from = offset + (row + i) * stride * rowBytes;
        encoder.copyBufferToBuffer(buffer, from, target, (to + i) * rowBytes, each * rowBytes);
      }
    };
    const queue = this.#queue(which);
    if (accumulate === 1) {
      for (const { from, to, count } of ringPieces(pointer, batch, queueSize)) {
        copyKeys(queue, from, to, count);
      }
      return;
    }
    const waiting = this.#waiting[which];
    copyKeys(waiting, 0, index * batch, batch);
    if (index < size - 1) return;
    const first = (pointer + queueSize - index * batch % queueSize) % queueSize;
    for (const { from, to, count } of ringPieces(first, size * batch, queueSize)) {
      encoder.copyBufferToBuffer(waiting, from * rowBytes, queue, to * rowBytes, count * rowBytes);
    }
  }

  async #readLoss(staging: GPUBuffer, { index, size }: BatchInGroup): Promise<StepLoss> {
    await this.#gpu.wait(staging.mapAsync(GPUMapMode.READ));
    const values = new Float32Array(staging.getMappedRange().slice(0));
    staging.unmap();
    const [main, local] = [values[0], this.#sets.length > 1 ? values[4] : 0];
    const { lossScale, isApplied } = unpackStepControl(values.subarray(4 * this.#sets.length));
    const isLast = index === size - 1;
    return {
      loss: main + local,
      main,
      local,
      isApplied: isApplied || !isLast, // of the others nothing is known yet
      ...this.#options.lossScale && { lossScale },
    };
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#similarities?.then((similarities) => similarities[Symbol.dispose](), () => {});
    this.#step[Symbol.dispose]();
    for (const buffer of [...this.#staging, ...this.#waiting]) buffer.destroy();
  }
}
