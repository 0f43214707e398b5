/**
 * One training step of SEED on the device: the student's forward pass, the loss against the queue as it was before
 * this batch, the backward pass, SGD, and the enqueueing of the batch's teacher embeddings.
 */
import { differentiate } from "../kernels/autodiff.ts";
import { type Gpu, readBuffer, type Target } from "../kernels/gpu.ts";
import { byteLength, Graph, padTo4, type Tensor } from "../kernels/graph.ts";
import { padRows, unpadRows } from "../kernels/layout.ts";
import { l2Normalize } from "../kernels/ops/l2_normalize/l2_normalize.ts";
import {
  FIXED_SCALE,
  type LossScale,
  type LossScaleRule,
  lossScaleState,
  NO_SCALE,
  packLossScale,
  unpackLossScale,
  wasApplied,
} from "../kernels/ops/loss_scale/loss_scale.ts";
import { Program } from "../kernels/program.ts";
import { recomputeActivations } from "../kernels/recompute.ts";
import { makeSchedule, type Schedule } from "../kernels/schedule.ts";
import { type DeviceParameter, EncoderBuilder, type StateEntry } from "./encoder_builder.ts";
import type { HeadOptions } from "./heads.ts";
import { type ImageInput, traceImages } from "./images.ts";
import { DEFAULT_LOSS, findLoss } from "./loss/losses.ts";
import { type ArenaTensors, ParameterStore, tensorsOf, traceSgd } from "./parameter_store.ts";
import { QueueSimilarities } from "./queue_similarities.ts";
import type { Encoder } from "./registry.ts";
import { ringPieces } from "./ring.ts";

/** The small views of a picture. */
export interface SmallViewOptions {
  /** How many of each picture. */
  views: number;
  /** Side of the square views, in pixels. */
  imageSize: number;
}

/** What {@linkcode StudentStep.create} needs. */
export interface StudentStepOptions {
  encoder: Encoder;
  head: HeadOptions;
  batch: number;
  /** Side of the square pictures, in pixels. */
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
  /** Small views of the same pictures, with a queue of their own, as the original's main_small-patch.py has them. */
  small?: SmallViewOptions;
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
  /** Seed of dropout and drop-connect, where the encoder has them; both are off where it is left out. */
  dropoutSeed?: number;
}

/** One batch. */
export interface StudentBatch {
  /** Packed RGBA8 pixels, or float32 in the device's layout for input `normalized`. */
  images: ArrayBuffer | ArrayBufferView<ArrayBuffer>;
  /** L2-normalised teacher embeddings [batch, dimension]. */
  teacher: Float32Array;
  /** The same of the small views, all of a picture one after the other: [batch * views, ...]. */
  small?: { images: ArrayBuffer | ArrayBufferView<ArrayBuffer>; teacher: Float32Array };
  learningRate: number;
  /** Row of the queue that the batch's first embedding replaces; of the small queue, that of its first small view. */
  queuePointer: number;
  /** Steps of the run before this one: chooses what dropout drops. */
  step?: number;
}

/** Losses of a step: their sum is what is trained on. */
export interface StepLoss {
  loss: number;
  /** Of the pictures' own views. */
  main: number;
  /** Of the small views; 0 where there are none. */
  small: number;
  /** Whether it changed the weights: not where a gradient is NaN or infinite. */
  isApplied: boolean;
  /** Loss scaling after the step, where there is any. */
  lossScale?: LossScale;
}

/** What a set of views needs in the program. */
interface ViewTensors {
  /** Written by the host. */
  images: Tensor;
  teacher: Tensor;
  /** Computed. */
  embedding: Tensor;
  loss: Tensor;
  /** The mirror of the views' queue, and which of a picture's views goes into it: every how many rows. */
  queue: GPUBuffer;
  stride: number;
}

/** The tensors of the program that the host writes and reads. */
interface StepTensors {
  /** The pictures' own views, and the small ones. */
  sets: readonly ViewTensors[];
  learningRate: Tensor;
  dropoutSeed: Tensor;
  /** See {@linkcode lossScaleState}. */
  lossScale: GPUBuffer;
}

/** A step as a graph, before there is a device. */
interface TracedStep extends Omit<StepTensors, "sets" | "lossScale"> {
  graph: Graph;
  lossScale: Tensor;
  sets: readonly (Omit<ViewTensors, "queue"> & { queue: Tensor })[];
  parameters: readonly DeviceParameter[];
  /** The state_dict, in PyTorch's order. */
  state: readonly StateEntry[];
  /** Of the trained parameters, in their order. */
  gradients: readonly Tensor[];
  arenas: readonly ArenaTensors[];
}

function traceStep(options: StudentStepOptions, target: Target): TracedStep {
  const { encoder, head, batch, imageSize, input = "pixels", queueSize, small } = options;
  const { temperature, teacherTemperature, momentum, weightDecay } = options;
  const graph = new Graph();
  const learningRate = graph.source("learning rate", [1]);
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
  const sets = small === undefined
    ? [main.set]
    : [main.set, traceSet(" of small views", small.views, small.imageSize, main.builder).set];

  const trained = tensorsOf(parameters, "parameter");
  const forward = graph.nodes.length;
  const lossScale = lossScaleState(graph);
  const isScaled = options.lossScale !== undefined;
  const losses = sets.map(({ loss }) => loss);
  const gradients = differentiate(graph, losses, trained, isScaled ? lossScale : undefined);
  if (options.checkpointActivations) recomputeActivations(graph, forward);
  const arenas = traceSgd(
    graph,
    parameters,
    target,
    learningRate,
    { momentum, weightDecay },
    lossScale,
    isScaled ? options.lossScaleRule : FIXED_SCALE,
  );
  return { graph, sets, learningRate, dropoutSeed, lossScale, parameters, state, gradients, arenas };
}

/** What of a step the host writes and reads. */
function hostTensors({ sets, learningRate, dropoutSeed }: TracedStep) {
  return {
    inputs: [...sets.flatMap(({ images, teacher }) => [images, teacher]), learningRate, dropoutSeed],
    outputs: [...sets.map(({ loss }) => loss), ...sets.map(({ embedding }) => embedding)],
  };
}

/** The dispatches of a step and its memory, without a device: what it would be on such a target. */
export function scheduleStep(target: Target, options: StudentStepOptions): Schedule {
  const traced = traceStep(options, target);
  const { graph, sets, parameters, gradients, arenas, lossScale } = traced;
  return makeSchedule(target, {
    label: `${options.encoder.name} training step`,
    graph,
    ...hostTensors(traced),
    bound: [
      ...parameters.map(({ tensor }) => tensor),
      ...gradients,
      ...sets.map(({ queue }) => queue),
      ...arenas.flatMap(({ parameter, gradient, momentum }) => [parameter, gradient, momentum]),
      lossScale,
    ],
    mixedPrecision: options.mixedPrecision,
  });
}

/** Losses that can be on their way back from the device at once. */
const LOSS_SLOTS = 4;

/** Bytes that are read back of each loss of a step, and of the state of loss scaling behind them. */
const LOSS_BYTES = 16;
const SCALE_BYTES = 32;

const STATE_USAGE = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

/** A buffer for state that outlives a step. */
function createState(gpu: Gpu, tensor: Tensor): GPUBuffer {
  return gpu.device.createBuffer({ label: tensor.label, size: byteLength(tensor), usage: STATE_USAGE });
}

/** The student, its optimizer and a mirror of the queue, on one device. */
export class StudentStep implements Disposable {
  /** The student's state_dict, in PyTorch's order. */
  readonly state: readonly StateEntry[];
  readonly #gpu: Gpu;
  readonly #options: StudentStepOptions;
  readonly #store: ParameterStore;
  readonly #program: Program;
  readonly #staging: GPUBuffer[];
  readonly #tensors: StepTensors;
  /** Made when it is first asked for. */
  #similarities: Promise<QueueSimilarities> | undefined;
  #steps = 0;

  private constructor(
    gpu: Gpu,
    options: StudentStepOptions,
    state: readonly StateEntry[],
    store: ParameterStore,
    program: Program,
    tensors: StepTensors,
  ) {
    this.#gpu = gpu;
    this.#options = options;
    this.state = state;
    this.#store = store;
    this.#program = program;
    this.#tensors = tensors;
    this.#staging = Array.from({ length: LOSS_SLOTS }, () =>
      gpu.device.createBuffer({
        label: "loss",
        size: LOSS_BYTES * tensors.sets.length + SCALE_BYTES,
        usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
      }));
  }

  /** Compiles the step. Load weights and queues before the first {@linkcode run}. */
  static async create(gpu: Gpu, options: StudentStepOptions): Promise<StudentStep> {
    const traced = traceStep(options, gpu.target);
    const { graph, parameters, state, gradients, arenas, learningRate, dropoutSeed } = traced;
    const sets = traced.sets.map(({ queue, ...set }) => {
      return { ...set, queue: createState(gpu, queue) };
    });
    const store = new ParameterStore(gpu, parameters, { training: true });
    const bound = new Map([...store.bindings(), ...store.bindArenas(arenas)]);
    for (const [i, { queue }] of traced.sets.entries()) {
      bound.set(queue, { buffer: sets[i].queue, offset: 0, bytes: byteLength(queue) });
    }
    for (const [i, parameter] of store.trained.entries()) {
      bound.set(gradients[i], store.gradientRangeOf(parameter));
    }
    const lossScale = createState(gpu, traced.lossScale);
    gpu.device.queue.writeBuffer(lossScale, 0, packLossScale(options.lossScale ?? NO_SCALE));
    bound.set(traced.lossScale, { buffer: lossScale, offset: 0, bytes: lossScale.size });
    const label = `${options.encoder.name} training step`;
    const { mixedPrecision } = options;
    const program = await Program.compile(gpu, {
      label,
      graph,
      ...hostTensors(traced),
      bound,
      mixedPrecision,
    });
    const tensors = { sets, learningRate, dropoutSeed, lossScale };
    return new StudentStep(gpu, options, state, store, program, tensors);
  }

  /** The student's weights, gradients and momentum. */
  get parameters(): ParameterStore {
    return this.#store;
  }

  /** The compiled step, for the profiler. */
  get program(): Program {
    return this.#program;
  }

  /** Replaces a whole queue: [queueSize, dimension]; `which` is 0 for the main views', 1 for the small ones'. */
  loadQueue(values: Float32Array, which = 0): void {
    const { queueSize, head } = this.#options;
    const rows = padRows(values, [queueSize, head.dimension]);
    this.#gpu.device.queue.writeBuffer(this.#tensors.sets[which].queue, 0, rows);
  }

  /** Reads a queue back: [queueSize, dimension]. */
  async readQueue(which = 0): Promise<Float32Array<ArrayBuffer>> {
    const { queueSize, head } = this.#options;
    const padded = new Float32Array(await readBuffer(this.#gpu, this.#tensors.sets[which].queue));
    return unpadRows(padded.subarray(0, queueSize * padTo4(head.dimension)), [queueSize, head.dimension]);
  }

  /** Reads the student's L2-normalised embeddings of the last batch: [batch, dimension]. */
  async readEmbeddings(): Promise<Float32Array<ArrayBuffer>> {
    const { batch, head } = this.#options;
    const [{ embedding }] = this.#tensors.sets;
    return unpadRows(await this.#program.read(embedding), [batch, head.dimension]);
  }

  /**
   * Cosines [2, queueSize] of two L2-normalised embeddings [2, dimension] with the keys of the main views' queue as it is
   * now.
   */
  async compareWithQueue(pair: Float32Array): Promise<Float32Array<ArrayBuffer>> {
    const { queueSize, head: { dimension } } = this.#options;
    const [{ queue }] = this.#tensors.sets;
    this.#similarities ??= QueueSimilarities.create(this.#gpu, queue, { rows: 2, queueSize, dimension });
    return await (await this.#similarities).compare(pair);
  }

  /**
   * Submits one step and returns at once with a promise of its losses, so that the next step can be submitted while
   * they are on their way. No more than four may be awaited at a time.
   */
  run(batch: StudentBatch): Promise<StepLoss> {
    const { device } = this.#gpu;
    const { head } = this.#options;
    const { sets, learningRate, dropoutSeed, lossScale } = this.#tensors;
    for (const [i, { images, teacher }] of sets.entries()) {
      const views = i === 0 ? batch : batch.small!;
      this.#program.write(images, views.images);
      this.#program.write(teacher, padRows(views.teacher, [teacher.shape[0], head.dimension]));
    }
    this.#program.write(learningRate, padRows([batch.learningRate], [1]));
    this.#program.write(dropoutSeed, Uint32Array.of(this.#options.dropoutSeed ?? 0, batch.step ?? 0));

    const encoder = device.createCommandEncoder({ label: "training step" });
    this.#program.encode(encoder);
    const staging = this.#staging[this.#steps++ % LOSS_SLOTS];
    for (const [i, set] of sets.entries()) {
      this.#encodeEnqueue(encoder, set, batch.queuePointer);
      const loss = this.#program.rangeOf(set.loss);
      encoder.copyBufferToBuffer(loss.buffer, loss.offset, staging, LOSS_BYTES * i, LOSS_BYTES);
    }
    encoder.copyBufferToBuffer(lossScale, 0, staging, LOSS_BYTES * sets.length, SCALE_BYTES);
    device.queue.submit([encoder.finish()]);
    this.#gpu.check();
    return this.#readLoss(staging);
  }

  /** The teacher's embeddings go into the queue, of several views of a picture the first one's. */
  #encodeEnqueue(encoder: GPUCommandEncoder, { teacher, queue, stride }: ViewTensors, pointer: number): void {
    const { batch, head, queueSize } = this.#options;
    const { buffer, offset } = this.#program.rangeOf(teacher);
    const rowBytes = padTo4(head.dimension) * 4;
    const copy = (row: number, to: number, count: number) =>
      encoder.copyBufferToBuffer(buffer, offset + row * rowBytes, queue, to * rowBytes, count * rowBytes);
    for (const { from, to, count } of ringPieces(pointer, batch, queueSize)) {
      if (stride === 1) copy(from, to, count);
      else for (let i = 0; i < count; i++) copy((from + i) * stride, to + i, 1);
    }
  }

  async #readLoss(staging: GPUBuffer): Promise<StepLoss> {
    await this.#gpu.wait(staging.mapAsync(GPUMapMode.READ));
    const { sets } = this.#tensors;
    const quads = new Float32Array(staging.getMappedRange().slice(0));
    staging.unmap();
    const [main, small] = [quads[0], sets.length > 1 ? quads[4] : 0];
    const state = quads.subarray(4 * sets.length);
    const lossScale = this.#options.lossScale && unpackLossScale(state);
    return { loss: main + small, main, small, isApplied: wasApplied(state), ...lossScale && { lossScale } };
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#similarities?.then((similarities) => similarities[Symbol.dispose](), () => {});
    this.#program.destroy();
    this.#store[Symbol.dispose]();
    for (const { queue } of this.#tensors.sets) queue.destroy();
    this.#tensors.lossScale.destroy();
    for (const buffer of this.#staging) buffer.destroy();
  }
}
