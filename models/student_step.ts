/**
 * One training step of SEED on the device: the student's forward pass, the loss against the queue as it was before
 * this batch, the backward pass, SGD, and the enqueueing of the batch's teacher embeddings.
 */
import { differentiate } from "../kernels/autodiff.ts";
import { type Gpu, readBuffer } from "../kernels/gpu.ts";
import { Graph, padTo4, type Tensor } from "../kernels/graph.ts";
import { padRows, unpadRows } from "../kernels/layout.ts";
import { l2Normalize } from "../kernels/ops/l2_normalize/l2_normalize.ts";
import { type BufferRange, Program } from "../kernels/program.ts";
import { EncoderBuilder, type StateEntry } from "./encoder_builder.ts";
import type { HeadOptions } from "./heads.ts";
import { type ImageInput, traceImages } from "./images.ts";
import { seedLoss } from "./loss/seed_loss.ts";
import { ParameterStore } from "./parameter_store.ts";
import type { Encoder } from "./registry.ts";

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
  /** Seed of dropout and drop-connect, where the encoder has them; both are off where it is left out. */
  dropoutSeed?: number;
}

/** One batch. */
export interface StudentBatch {
  /** Packed RGBA8 pixels, or float32 in the device's layout for input `normalized`. */
  images: ArrayBuffer | ArrayBufferView<ArrayBuffer>;
  /** L2-normalised teacher embeddings [batch, dimension]. */
  teacher: Float32Array;
  learningRate: number;
  /** Row of the queue that the batch's first embedding replaces. */
  queuePointer: number;
  /** Steps of the run before this one: chooses what dropout drops. */
  step?: number;
}

/** The tensors of the program that the host writes and reads. */
type StepTensors = Record<
  "images" | "teacher" | "learningRate" | "dropoutSeed" | "embedding" | "loss",
  Tensor
>;

/** Losses that can be on their way back from the device at once. */
const LOSS_SLOTS = 4;

/** The student, its optimizer and a mirror of the queue, on one device. */
export class StudentStep implements Disposable {
  /** The student's state_dict, in PyTorch's order. */
  readonly state: readonly StateEntry[];
  readonly #gpu: Gpu;
  readonly #options: StudentStepOptions;
  readonly #store: ParameterStore;
  readonly #program: Program;
  readonly #queue: GPUBuffer;
  readonly #staging: GPUBuffer[];
  readonly #tensors: StepTensors;
  #steps = 0;

  private constructor(
    gpu: Gpu,
    options: StudentStepOptions,
    state: readonly StateEntry[],
    store: ParameterStore,
    program: Program,
    queue: GPUBuffer,
    tensors: StepTensors,
  ) {
    this.#gpu = gpu;
    this.#options = options;
    this.state = state;
    this.#store = store;
    this.#program = program;
    this.#queue = queue;
    this.#tensors = tensors;
    this.#staging = Array.from({ length: LOSS_SLOTS }, () =>
      gpu.device.createBuffer({
        label: "loss",
        size: 16,
        usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
      }));
  }

  /** Compiles the step. Load weights and queue before the first {@linkcode run}. */
  static async create(gpu: Gpu, options: StudentStepOptions): Promise<StudentStep> {
    const { encoder, head, batch, imageSize, input = "pixels", queueSize } = options;
    const graph = new Graph();
    const { source, images } = traceImages(graph, input, batch, imageSize);
    const teacher = graph.source("teacher embeddings", [batch, 1, 1, head.dimension]);
    const learningRate = graph.source("learning rate", [1]);
    const queue = graph.source("queue", [1, 1, padTo4(queueSize), head.dimension]);

    const dropoutSeed = graph.source("dropout seed", [2], "u32");
    const withDropout = options.dropoutSeed === undefined ? {} : { dropoutSeed };
    const builder = new EncoderBuilder(graph, "train", withDropout);
    const outputs = encoder.trace(builder, images, head);
    const embedding = graph.apply(l2Normalize, [outputs.embedding], {});
    const { temperature, teacherTemperature } = options;
    const loss = seedLoss(graph, {
      student: embedding,
      teacher,
      queue,
      queueSize,
      temperature,
      teacherTemperature,
    });

    const store = new ParameterStore(gpu, builder.parameters, { training: true });
    const bound = store.bindings();
    const trained = store.trained;
    for (const [i, gradient] of differentiate(graph, loss, trained).entries()) {
      bound.set(gradient, store.gradientRangeOf(trained[i]));
    }
    const { momentum, weightDecay } = options;
    for (const [tensor, range] of store.traceSgd(graph, learningRate, { momentum, weightDecay })) {
      bound.set(tensor, range);
    }

    const queueBytes = padTo4(queueSize) * padTo4(head.dimension) * 4;
    const queueBuffer = gpu.device.createBuffer({
      label: "queue",
      size: queueBytes,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    const queueRange: BufferRange = { buffer: queueBuffer, offset: 0, bytes: queueBytes };
    bound.set(queue, queueRange);
    const program = await Program.compile(gpu, {
      label: `${encoder.name} training step`,
      graph,
      inputs: [source, teacher, learningRate, dropoutSeed],
      outputs: [loss, embedding],
      bound,
    });
    const tensors = { images: source, teacher, learningRate, dropoutSeed, embedding, loss };
    return new StudentStep(gpu, options, builder.state, store, program, queueBuffer, tensors);
  }

  /** The student's weights, gradients and momentum. */
  get parameters(): ParameterStore {
    return this.#store;
  }

  /** The compiled step, for the profiler. */
  get program(): Program {
    return this.#program;
  }

  /** Replaces the whole queue: [queueSize, dimension]. */
  loadQueue(values: Float32Array): void {
    const { queueSize, head } = this.#options;
    this.#gpu.device.queue.writeBuffer(this.#queue, 0, padRows(values, [queueSize, head.dimension]));
  }

  /** Reads the queue back: [queueSize, dimension]. */
  async readQueue(): Promise<Float32Array<ArrayBuffer>> {
    const { queueSize, head } = this.#options;
    const padded = new Float32Array(await readBuffer(this.#gpu, this.#queue));
    return unpadRows(padded.subarray(0, queueSize * padTo4(head.dimension)), [queueSize, head.dimension]);
  }

  /** Reads the student's L2-normalised embeddings of the last batch: [batch, dimension]. */
  async readEmbeddings(): Promise<Float32Array<ArrayBuffer>> {
    const { batch, head } = this.#options;
    return unpadRows(await this.#program.read(this.#tensors.embedding), [batch, head.dimension]);
  }

  /**
   * Submits one step and returns at once with a promise of its loss, so that the next step can be submitted while
   * the loss is on its way. No more than four losses may be awaited at a time.
   */
  run({ images, teacher, learningRate, queuePointer, step = 0 }: StudentBatch): Promise<number> {
    const { device } = this.#gpu;
    const { batch, head } = this.#options;
    const tensors = this.#tensors;
    this.#program.write(tensors.images, images);
    this.#program.write(tensors.teacher, padRows(teacher, [batch, head.dimension]));
    this.#program.write(tensors.learningRate, padRows([learningRate], [1]));
    this.#program.write(tensors.dropoutSeed, Uint32Array.of(this.#options.dropoutSeed ?? 0, step));

    const encoder = device.createCommandEncoder({ label: "training step" });
    this.#program.encode(encoder);
    const keys = this.#program.rangeOf(tensors.teacher);
    const rowBytes = padTo4(head.dimension) * 4;
    encoder.copyBufferToBuffer(keys.buffer, keys.offset, this.#queue, queuePointer * rowBytes, keys.bytes);
    const loss = this.#program.rangeOf(tensors.loss);
    const staging = this.#staging[this.#steps++ % LOSS_SLOTS];
    encoder.copyBufferToBuffer(loss.buffer, loss.offset, staging, 0, 16);
    device.queue.submit([encoder.finish()]);
    this.#gpu.check();
    return this.#readLoss(staging);
  }

  async #readLoss(staging: GPUBuffer): Promise<number> {
    await Promise.race([staging.mapAsync(GPUMapMode.READ), this.#gpu.failed]);
    const loss = new Float32Array(staging.getMappedRange())[0];
    staging.unmap();
    return loss;
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#program.destroy();
    this.#store[Symbol.dispose]();
    this.#queue.destroy();
    for (const buffer of this.#staging) buffer.destroy();
  }
}
