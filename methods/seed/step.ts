/**
 * One training step of SEED on the device: the student's forward pass, the loss against the queue as it was before
 * this batch, the backward pass, SGD, and the enqueueing of the batch's teacher embeddings.
 */
import type { LocalViewOptions } from "../../actors/messages.ts";
import { differentiate } from "../../kernels/autodiff.ts";
import type { Gpu, Target } from "../../kernels/gpu.ts";
import { Graph, padTo4, type Tensor } from "../../kernels/graph.ts";
import { padRows, unpadRows } from "../../kernels/layout.ts";
import { allGather } from "../../kernels/ops/all_gather/all_gather.ts";
import { l2Normalize } from "../../kernels/ops/l2_normalize/l2_normalize.ts";
import { stepControl } from "../../kernels/ops/loss_scale/loss_scale.ts";
import type { Program } from "../../kernels/program.ts";
import { recomputeActivations } from "../../kernels/recompute.ts";
import type { Schedule } from "../../kernels/schedule.ts";
import { traceOutputs } from "../../models/encoder.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import type { Initial, StateEntry } from "../../models/encoder_layers.ts";
import type { StateValues } from "../../models/initialize.ts";
import { type ImageInput, traceImages } from "../../models/images.ts";
import { LOSS_LAYER } from "../../models/heads.ts";
import { mapOf } from "../../models/inference.ts";
import type { LossMaps } from "../../models/loss/loss_inputs.ts";
import { DEFAULT_LOSS, findLoss } from "../../models/loss/losses.ts";
import { type ParameterStore, type ReadEntry, tensorsOf } from "../../models/parameter_store.ts";
import {
  type GradientExchange,
  type GradientGraph,
  scheduleTrainingStep,
} from "../../models/training_step.ts";
import { KeyQueue, requireQueueFits } from "../encoder_training/key_queue.ts";
import { CompiledStep } from "../encoder_training/compiled_step.ts";
import { requireAllUsed } from "../encoder_training/require_all_used.ts";
import { sharedLoss } from "../encoder_training/shared_loss.ts";
import type { EncoderStep, EncoderStepOptions, EncoderStepSettings } from "../encoder_training/step.ts";
import { optimizerOf } from "../encoder_training/step_options.ts";
import { readLosses, type StepLoss } from "../encoder_training/step_results.ts";

/** What {@linkcode StudentStep.create} needs. */
export interface StudentStepOptions extends EncoderStepOptions {
  input?: ImageInput;
  /** Student temperature, `--temp`. */
  temperature: number;
  /** Teacher temperature, `--distill-t`. */
  teacherTemperature: number;
  /** Small views of the same images, with a queue of their own, as the original's main_small-patch.py has them. */
  local?: LocalViewOptions;
  /** Name of the loss; SEED's where it is left out. */
  loss?: string;
  /** Height, width and channels of the teacher's feature maps, of a loss that compares maps. */
  teacherMap?: readonly [number, number, number];
  /** Of `tokens`: temperature and weight of its second term, `--token-t` and `--token-weight`. */
  tokenTemperature?: number;
  tokenWeight?: number;
}

/** One batch. */
export interface StudentBatch extends EncoderStepSettings {
  /** Packed RGBA8 pixels, or float32 in the device's layout for input `normalized`. */
  images: ArrayBuffer | ArrayBufferView<ArrayBuffer>;
  /** L2-normalised teacher embeddings [batch, dimension]. */
  teacher: Float32Array;
  /** The teacher's feature maps in the device's layout, of a loss that compares maps. */
  maps?: Float32Array<ArrayBuffer>;
  /** The same of the small views, all of an image one after the other: [batch * views, ...]. */
  local?: { images: ArrayBuffer | ArrayBufferView<ArrayBuffer>; teacher: Float32Array };
}

/** What a set of views needs in the program. */
interface ViewTensors {
  /** Written by the host. */
  images: Tensor;
  teacher: Tensor;
  map?: Tensor;
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

/** A set of views, traced. */
interface TracedSet {
  builder: EncoderBuilder;
  set: ViewTensors;
}

/** Initial weights of a loss's layers, as in LightlyTrain. */
const LAYER_INITIAL: Initial = { draw: "truncated_normal", deviation: 0.02 };

/** What a loss gets of the maps; its layers are the student's. */
function mapsOf(builder: EncoderBuilder, student: Tensor, teacher: Tensor): LossMaps {
  return {
    student,
    teacher,
    linear: (name, x, outputs) =>
      builder.convolve(x, builder.linear(`${LOSS_LAYER}${name}`, x.shape[3], outputs, LAYER_INITIAL)),
  };
}

function traceStep(options: StudentStepOptions): TracedStep {
  const { encoder, head, batch, imageSize, input = "pixels", queueSize, local } = options;
  const { temperature, teacherTemperature, mixedPrecision, dropPath } = options;
  const { tokenTemperature = temperature, tokenWeight = 1, ranks = 1 } = options;
  const graph = new Graph();
  const dropoutSeed = graph.source("dropout seed", [2], "u32");
  const devices = options.syncBn ? ranks : 1;
  const withDropout = options.dropoutSeed === undefined ? {} : { dropoutSeed };

  // The student runs once over each set of views, so that batch norm sees batches of their own.
  const traceSet = (name: string, views: number, size: number, share?: EncoderBuilder): TracedSet => {
    const rows = batch * views;
    const { source, images } = traceImages(graph, input, rows, size, options.normalization);
    const teacher = graph.source(`teacher embeddings${name}`, [rows, 1, 1, head.dimension]);
    const queue = graph.source(`queue${name}`, [1, 1, padTo4(queueSize), head.dimension]);
    const builder = new EncoderBuilder(graph, "train", { ...withDropout, share, dropPath, devices });
    const outputs = traceOutputs(encoder, builder, images, head);
    const embedding = graph.apply(l2Normalize, [outputs.embedding], {});
    // Small views are compared by their embeddings alone.
    const map = options.teacherMap && share === undefined
      ? graph.source("teacher maps", [rows, ...options.teacherMap])
      : undefined;
    const studentMap = map && mapOf(encoder, outputs);
    requireAllUsed(encoder, builder, [
      outputs.feature,
      outputs.embedding,
      ...studentMap === undefined ? [] : [studentMap],
    ]);
    // It is gathered only where the loss reads it.
    const batchTeacher = ranks === 1 ? teacher : graph.apply(allGather, [teacher], { devices: ranks });
    const ownLoss = findLoss(options.loss ?? DEFAULT_LOSS)(graph, {
      ...{ student: embedding, teacher, batchTeacher, queue, queueSize, temperature, teacherTemperature },
      ...{ tokenTemperature, tokenWeight },
      ...studentMap && { maps: mapsOf(builder, studentMap, map!) },
    });
    const loss = sharedLoss(graph, ownLoss, ranks);
    const set = { images: source, teacher, ...map && { map }, embedding, loss, queue, stride: views };
    return { builder, set };
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
    inputs: [
      ...sets.flatMap(({ images, teacher, map }) => [images, teacher, ...map === undefined ? [] : [map]]),
      dropoutSeed,
    ],
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

/** The dispatches of a step and its memory, program by program, without a device: what it would be on such a target. */
export function scheduleStep(target: Target, options: StudentStepOptions): Schedule[] {
  return scheduleTrainingStep(target, traceStep(options), optimizerOf(options));
}

/** The student, its optimizer and the queue, on one device. */
export class StudentStep implements EncoderStep {
  /** The student's state_dict, in PyTorch's order. */
  readonly state: readonly StateEntry[];
  /** The main views' queue, and the small ones' where there are any. */
  readonly queues: readonly KeyQueue[];
  readonly #options: StudentStepOptions;
  readonly #step: CompiledStep;
  readonly #sets: readonly ViewTensors[];
  readonly #dropoutSeed: Tensor;

  private constructor(gpu: Gpu, options: StudentStepOptions, traced: TracedStep, step: CompiledStep) {
    const { accumulate = 1, batch, ranks, head, queueSize } = options;
    this.#options = options;
    this.state = traced.entries;
    this.#step = step;
    this.#sets = traced.sets;
    this.#dropoutSeed = traced.dropoutSeed;
    this.queues = traced.sets.map(({ queue, stride }) =>
      new KeyQueue(gpu, step.training.bufferOf(queue), {
        size: queueSize,
        dimension: head.dimension,
        batch,
        ranks,
        accumulate,
        stride,
      })
    );
  }

  /**
   * Compiles the step. Load weights and queues before the first {@linkcode run}.
   *
   * @param exchange what becomes of the gradients before the weights change
   * @throws {UserError} where the queue is larger than a buffer may be
   */
  static async create(
    gpu: Gpu,
    options: StudentStepOptions,
    exchange?: GradientExchange,
  ): Promise<StudentStep> {
    requireQueueFits(gpu, { ...options, size: options.queueSize, dimension: options.head.dimension });
    const traced = traceStep(options);
    const losses = traced.sets.map(({ loss }) => loss);
    const step = await CompiledStep.create(gpu, traced, losses, options, optimizerOf(options), exchange);
    return new StudentStep(gpu, options, traced, step);
  }

  /** The student's weights, gradients and momentum. */
  get parameters(): ParameterStore {
    return this.#step.training.stores[0];
  }

  resetSteps(): void {
    this.#step.training.resetSteps();
  }

  /** The compiled step, for the profiler: its parts in their order. */
  get programs(): readonly Program[] {
    return this.#step.training.programs;
  }

  /** Loads the student; the teacher has its own file and its own actor. */
  async load(read: ReadEntry): Promise<void> {
    await this.parameters.load(read);
  }

  /** Reads the student's parameters and running statistics. */
  async save(): Promise<StateValues> {
    return await this.parameters.save();
  }

  /** Reads the student's L2-normalised embeddings of the last batch: [batch, dimension]. */
  async readEmbeddings(): Promise<Float32Array<ArrayBuffer>> {
    const { batch, head } = this.#options;
    const [{ embedding }] = this.#sets;
    return unpadRows(await this.#step.read(embedding), [batch, head.dimension]);
  }

  /**
   * Submits one step and returns at once with a promise of its losses, of the main views and of the small ones, so that the
   * next step can be submitted while they are on their way. No more than four may be awaited at a time; with an exchange of
   * gradients, one.
   */
  run(batch: StudentBatch): Promise<StepLoss> {
    const { head, dropoutSeed = 0 } = this.#options;
    const { queuePointer, learningRate, group, takesStats } = batch;
    const program = this.#step.training.gradientProgram;
    for (const [i, { images, teacher, map }] of this.#sets.entries()) {
      const views = i === 0 ? batch : batch.local!;
      program.write(images, views.images);
      if (map !== undefined) program.write(map, batch.maps!);
      program.write(teacher, padRows(views.teacher, [teacher.shape[0], head.dimension]));
    }
    program.write(this.#dropoutSeed, Uint32Array.of(dropoutSeed, batch.step ?? 0));
    const settings = { learningRates: [learningRate], group, takesStats };
    return readLosses(this.#step.submit(settings, (encoder, group) => {
      for (const [i, { teacher }] of this.#sets.entries()) {
        this.queues[i].encodeEnqueue(encoder, program.rangeOf(teacher), queuePointer, group);
      }
    }, this.#sets.flatMap(({ teacher }, i) => this.queues[i].gathers(program.rangeOf(teacher)))));
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    for (const queue of this.queues) queue[Symbol.dispose]();
    this.#step[Symbol.dispose]();
  }
}
