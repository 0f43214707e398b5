/**
 * One training step of MoCo on the device: the key encoder moves towards the query encoder, both embed a view of each image,
 * InfoNCE against the queue as it was before this batch, the backward pass of the query encoder, SGD, and the enqueueing of
 * the batch's keys (`moco/builder.py` of the original, without the shuffle, which has no meaning on one device).
 */
import { differentiate } from "../../kernels/autodiff.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { Graph, padTo4, type Tensor } from "../../kernels/graph.ts";
import { unpadRows } from "../../kernels/layout.ts";
import { finiteOrZero } from "../../kernels/ops/finite_or_zero/finite_or_zero.ts";
import { interleaveRows } from "../../kernels/ops/interleave_rows/interleave_rows.ts";
import { l2Normalize } from "../../kernels/ops/l2_normalize/l2_normalize.ts";
import { stepControl } from "../../kernels/ops/loss_scale/loss_scale.ts";
import type { Program } from "../../kernels/program.ts";
import { recomputeActivations } from "../../kernels/recompute.ts";
import { traceOutputs } from "../../models/encoder.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import type { DeviceParameter, StateEntry } from "../../models/encoder_layers.ts";
import { type ImageInput, traceImages } from "../../models/images.ts";
import type { StateValues } from "../../models/initialize.ts";
import { infoNce } from "../../models/loss/info_nce.ts";
import { type ParameterStore, type ReadEntry, tensorsOf } from "../../models/parameter_store.ts";
import {
  AVERAGE,
  type GradientExchange,
  type GradientGraph,
  type OptimizerOptions,
} from "../../models/training_step.ts";
import { KeyQueue, requireQueueFits } from "../encoder_training/key_queue.ts";
import { CompiledStep } from "../encoder_training/compiled_step.ts";
import { requireAllUsed } from "../encoder_training/require_all_used.ts";
import { sharedLoss } from "../encoder_training/shared_loss.ts";
import type { EncoderStep, EncoderStepOptions, EncoderStepSettings } from "../encoder_training/step.ts";
import { optimizerOf } from "../encoder_training/step_options.ts";
import { readLosses, type StepLoss } from "../encoder_training/step_results.ts";

/** What {@linkcode MocoStep.create} needs. */
export interface MocoStepOptions extends EncoderStepOptions {
  input?: ImageInput;
  /** Divides the similarities, `--moco-t`. */
  temperature: number;
  /** What the key encoder keeps of itself at a step, `--moco-m`. */
  keyMomentum: number;
  /** Groups of a batch that batch norm normalises apart, `--bn-splits`; one where it is left out. */
  splits?: number;
  /**
   * Whether the key encoder's groups are others than the query encoder's, so that an image does not find its key by what their
   * groups have in common, as MoCo shuffles them over devices. They are where it is left out.
   */
  shufflesKeys?: boolean;
}

/** One batch: two views of each image. */
export interface MocoBatch extends EncoderStepSettings {
  /** Of the query encoder: packed RGBA8 pixels, or float32 in the device's layout for input `normalized`. */
  queries: ArrayBuffer | ArrayBufferView<ArrayBuffer>;
  /** Of the key encoder, likewise. */
  keys: ArrayBuffer | ArrayBufferView<ArrayBuffer>;
}

/** What stands before the keys of the key encoder's running statistics, where those of both encoders are together. */
const KEY_ENCODER = "encoder_k.";

/** The first part of a step as a graph, before there is a device. */
interface TracedStep extends GradientGraph {
  /** Written by the host. */
  images: { query: Tensor; key: Tensor };
  dropoutSeeds: { query: Tensor; key: Tensor };
  /** Computed. */
  embeddings: { query: Tensor; key: Tensor };
  /** The keys as they go into the queue: what is not finite is zero. */
  queued: Tensor;
  loss: Tensor;
  queue: Tensor;
  /** The state_dict of either encoder, in PyTorch's order. */
  entries: readonly StateEntry[];
}

function traceStep(options: MocoStepOptions): TracedStep {
  const { encoder, head, batch, imageSize, input = "pixels", queueSize, temperature } = options;
  const { mixedPrecision, splits = 1, shufflesKeys = true, dropPath } = options;
  const graph = new Graph();
  const traceEncoder = (name: string) => {
    const dropoutSeed = graph.source(`dropout seed of the ${name} encoder`, [2], "u32");
    const builder = new EncoderBuilder(graph, "train", {
      ...options.dropoutSeed !== undefined && { dropoutSeed },
      splits,
      devices: options.syncBn ? options.ranks : 1,
      dropPath: name === "query" ? dropPath : 0, // as DINO's teacher, the key encoder drops no branches
    });
    const { source, images } = traceImages(graph, input, batch, imageSize, options.normalization);
    const outputs = traceOutputs(encoder, builder, images, head);
    requireAllUsed(encoder, builder, [outputs.feature, outputs.embedding]);
    const embedding = graph.apply(l2Normalize, [outputs.embedding], {});
    return { builder, dropoutSeed, images: source, embedding };
  };
  const query = traceEncoder("query");
  const key = traceEncoder("key");
  // The host writes the first image of every query group first, and so on.
  const keyEmbedding = splits > 1 && shufflesKeys
    ? graph.apply(interleaveRows, [key.embedding], { groups: batch / splits })
    : key.embedding;
  // A key that is not finite makes its own step's loss NaN, and no later one's.
  const queued = graph.apply(finiteOrZero, [keyEmbedding], {});
  const queue = graph.source("queue", [1, 1, padTo4(queueSize), head.dimension]);
  const ownLoss = infoNce(graph, {
    query: query.embedding,
    key: keyEmbedding,
    queue,
    queueSize,
    temperature,
  });
  const loss = sharedLoss(graph, ownLoss, options.ranks);
  const { parameters, state } = query.builder;
  const forward = graph.nodes.length;
  const control = options.lossScale && stepControl(graph);
  const gradients = differentiate(graph, loss, tensorsOf(parameters, "parameter"), control);
  if (options.checkpointActivations) recomputeActivations(graph, forward);
  // The key encoder's weights are an arena beside the query encoder's; its running statistics are its own.
  const running = key.builder.parameters.filter(({ kind }) => kind === "running").map((
    { keys, ...parameter },
  ): DeviceParameter => ({ ...parameter, keys: keys.map((name) => KEY_ENCODER + name) }));
  return {
    label: `${encoder.name} training step`,
    graph,
    inputs: [query.images, key.images, query.dropoutSeed, key.dropoutSeed],
    outputs: [loss, query.embedding, keyEmbedding, queued],
    models: [{
      parameters: [...parameters, ...running],
      gradients,
      averaged: tensorsOf(key.builder.parameters, "parameter"),
    }],
    state: [queue],
    control,
    mixedPrecision,
    images: { query: query.images, key: key.images },
    dropoutSeeds: { query: query.dropoutSeed, key: key.dropoutSeed },
    embeddings: { query: query.embedding, key: keyEmbedding },
    queued,
    loss,
    queue,
    entries: state,
  };
}

function averagingOptimizer(options: MocoStepOptions): OptimizerOptions {
  return { ...optimizerOf(options), averages: true };
}

/** Both encoders, the optimizer and the queue, on one device. */
export class MocoStep implements EncoderStep {
  /** Of either encoder, in PyTorch's order. */
  readonly state: readonly StateEntry[];
  readonly queues: readonly [KeyQueue];
  readonly #options: MocoStepOptions;
  readonly #traced: TracedStep;
  readonly #step: CompiledStep;

  private constructor(gpu: Gpu, options: MocoStepOptions, traced: TracedStep, step: CompiledStep) {
    const { accumulate = 1, batch, ranks, head: { dimension }, queueSize: size } = options;
    this.#options = options;
    this.#traced = traced;
    this.state = traced.entries;
    this.#step = step;
    const buffer = step.training.bufferOf(traced.queue);
    this.queues = [new KeyQueue(gpu, buffer, { size, dimension, batch, ranks, accumulate, stride: 1 })];
  }

  /**
   * Compiles the step. Load weights and the queue before the first {@linkcode run}.
   *
   * @param exchange what becomes of the gradients before the weights change
   * @throws {UserError} where the queue is larger than a buffer may be
   */
  static async create(gpu: Gpu, options: MocoStepOptions, exchange?: GradientExchange): Promise<MocoStep> {
    requireQueueFits(gpu, { ...options, size: options.queueSize, dimension: options.head.dimension });
    const traced = traceStep(options);
    const optimizer = averagingOptimizer(options);
    const step = await CompiledStep.create(gpu, traced, [traced.loss], options, optimizer, exchange);
    return new MocoStep(gpu, options, traced, step);
  }

  /** The query encoder's weights, gradients and momentum; the key encoder's weights are its average. */
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

  /** Loads the query encoder and the key encoder. */
  async load(read: ReadEntry, readKeyEncoder: ReadEntry): Promise<void> {
    await this.parameters.load((key, rows) =>
      key.startsWith(KEY_ENCODER) ? readKeyEncoder(key.slice(KEY_ENCODER.length), rows) : read(key, rows)
    );
    const weights = new Map<string, Float32Array>();
    for (const { key, kind } of this.state) {
      if (kind === "parameter") weights.set(key, await readKeyEncoder(key));
    }
    this.parameters.loadArena(AVERAGE, weights);
  }

  /** Reads the query encoder's parameters and running statistics. */
  async save(): Promise<StateValues> {
    return new Map([...await this.parameters.save()].filter(([key]) => !key.startsWith(KEY_ENCODER)));
  }

  /** Reads those of the key encoder. */
  async saveKeyEncoder(): Promise<StateValues> {
    const values = await this.parameters.saveArena(AVERAGE);
    for (const [key, data] of await this.parameters.save()) {
      if (key.startsWith(KEY_ENCODER)) values.set(key.slice(KEY_ENCODER.length), data);
    }
    return values;
  }

  /** Reads the query encoder's L2-normalised embeddings of the last batch: [batch, dimension]. */
  async readEmbeddings(): Promise<Float32Array<ArrayBuffer>> {
    return await this.#readRows(this.#traced.embeddings.query);
  }

  /** Reads the keys of the last batch: [batch, dimension]. */
  async readKeys(): Promise<Float32Array<ArrayBuffer>> {
    return await this.#readRows(this.#traced.embeddings.key);
  }

  async #readRows(embedding: Tensor): Promise<Float32Array<ArrayBuffer>> {
    const { batch, head: { dimension } } = this.#options;
    return unpadRows(await this.#step.read(embedding), [batch, dimension]);
  }

  /**
   * Submits one step and returns at once with a promise of its loss, so that the next step can be submitted while it is on its
   * way. No more than four may be awaited at a time; with an exchange of gradients, one.
   */
  run({ queries, keys, learningRate, queuePointer, step = 0, ...settings }: MocoBatch): Promise<StepLoss> {
    const { dropoutSeed = 0, keyMomentum } = this.#options;
    const { images, dropoutSeeds, queued } = this.#traced;
    const program = this.#step.training.gradientProgram;
    program.write(images.query, queries);
    program.write(images.key, this.#shuffled(keys));
    program.write(dropoutSeeds.query, Uint32Array.of(dropoutSeed, step));
    program.write(dropoutSeeds.key, Uint32Array.of(~dropoutSeed, step)); // the encoders drop values of their own
    const rates = { learningRates: [learningRate], averageMomentum: keyMomentum };
    return readLosses(this.#step.submit({ ...settings, ...rates }, (encoder, group) => {
      this.queues[0].encodeEnqueue(encoder, program.rangeOf(queued), queuePointer, group);
    }, this.queues[0].gathers(program.rangeOf(queued))));
  }

  /** The first image of every query group, then the second one of each, and so on: the key encoder's groups. */
  #shuffled(
    keys: ArrayBuffer | ArrayBufferView<ArrayBuffer>,
  ): ArrayBuffer | ArrayBufferView<ArrayBuffer> {
    const { batch, splits = 1, shufflesKeys = true } = this.#options;
    if (splits === 1 || !shufflesKeys) return keys;
    const bytes = ArrayBuffer.isView(keys)
      ? new Uint8Array(keys.buffer, keys.byteOffset, keys.byteLength)
      : new Uint8Array(keys);
    const length = bytes.length / batch;
    const shuffled = new Uint8Array(bytes.length);
    const perGroup = batch / splits;
    for (let i = 0; i < batch; i++) {
      const from = (i % splits) * perGroup + Math.floor(i / splits);
      shuffled.set(bytes.subarray(from * length, (from + 1) * length), i * length);
    }
    return shuffled;
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    for (const queue of this.queues) queue[Symbol.dispose]();
    this.#step[Symbol.dispose]();
  }
}
