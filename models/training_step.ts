/**
 * A training step on the device in three parts: the gradient program (forward, loss, backward, into the arena of the
 * gradients), the exchange of gradients (nothing, or what a program with several devices does there), and the optimizer
 * program. Without an exchange all of it is one submit.
 */
import type { Gpu, Target } from "../kernels/gpu.ts";
import { byteLength, Graph, type Tensor } from "../kernels/graph.ts";
import { padRows } from "../kernels/layout.ts";
import { accumulate } from "../kernels/ops/accumulate/accumulate.ts";
import { clipGradients } from "../kernels/ops/clip_gradients/clip_gradients.ts";
import {
  FIXED_SCALE,
  type LossScale,
  type LossScaleRule,
  NO_SCALE,
  packStepControl,
  stepControl,
  STEPS_OFFSET,
  updateLossScale,
} from "../kernels/ops/loss_scale/loss_scale.ts";
import { ALIGNMENT } from "../kernels/memory_plan.ts";
import { movingAverage } from "../kernels/ops/moving_average/moving_average.ts";
import { type BufferRange, type GatheredRows, Program, runSegments } from "../kernels/program.ts";
import { RepeatedRuns } from "../kernels/repeated_run.ts";
import { makeSchedule, type Schedule } from "../kernels/schedule.ts";
import { SubmissionTimer } from "../kernels/submission_timer.ts";
import type { DeviceParameter } from "./encoder_layers.ts";
import { layerGroupsOf, LayerNormReader, type StepStats } from "./step_stats.ts";
import type { OptimizerRule } from "./optim/optimizers.ts";
import { arenaSegments, ParameterStore, tensorsOf } from "./parameter_store.ts";

/** Names of the arenas that a step keeps beside those of its optimizer. */
export const GRADIENT = "gradient";
const SUM = "gradient sum";
/**
 * Weights averaged over the steps: what a momentum encoder has. They move towards the trained ones before a step's gradients
 * are taken, as in MoCo's builder.py, so that a checkpoint has them as the last step saw them.
 */
export const AVERAGE = "average";

/** Returns the buffers whose contents outlive a step: weights, running statistics, what the optimizer keeps. */
export function lastingBuffers({ arenas }: ParameterStore): GPUBuffer[] {
  return [...arenas].flatMap(([name, buffers]) => name === GRADIENT || name === SUM ? [] : buffers);
}

/** A model whose weights the step changes. */
export interface TrainedModel {
  parameters: readonly DeviceParameter[];
  /** Of the trained parameters, in their order. */
  gradients: readonly Tensor[];
  /** Where the graph reads {@linkcode AVERAGE} too: as if it were the trained parameters, in their order. */
  averaged?: readonly Tensor[];
}

/** The first part, traced. */
export interface GradientGraph {
  /** Names it in errors and profiles. */
  label: string;
  graph: Graph;
  /** Tensors that the host writes before a step. */
  inputs: readonly Tensor[];
  /** Tensors that are read after a step. */
  outputs: readonly Tensor[];
  models: readonly TrainedModel[];
  /** Tensors whose values outlive a step, each in a buffer of its own; they start from zeros. */
  state?: readonly Tensor[];
  /** See `stepControl`, where the losses are multiplied by a scale. */
  control?: Tensor;
  /** Keep maps of pixels in float16. */
  mixedPrecision?: boolean;
}

/** The third part. */
export interface OptimizerOptions {
  rule: OptimizerRule;
  /**
   * Whether gradients must be finite: a step where one is not changes neither the weights nor the optimizer's state, and
   * says so in its control.
   */
  isChecked?: boolean;
  /** What loss scaling starts from where gradients are checked; they are not scaled where it is left out. */
  lossScale?: LossScale;
  /** How the scale changes; it does not where this is left out. */
  lossScaleRule?: LossScaleRule;
  /** Steps that changed the weights before, of a run that is resumed; none where it is left out. */
  steps?: number;
  /** L2 norm that the gradients are clipped to; it needs `isChecked`. */
  clipNorm?: number;
  /** Whether gradients of several batches are summed before a step. */
  accumulates?: boolean;
  /** Whether {@linkcode AVERAGE} is kept: an exponential moving average of the weights. */
  averages?: boolean;
  /** Whether norms by group of layers, and times, can be taken. */
  hasStats?: boolean;
}

/** What devices exchange with every batch, besides gradients. */
export interface ExchangedResults {
  /** Float32s that become their sums over all devices. */
  sums: readonly BufferRange[];
  rows: readonly GatheredRows[];
}

/** What happens to the gradients between the first part and the third, with other devices for example; and within the first. */
export interface GradientExchange {
  /**
   * Changes the gradients in their buffers. The step's first part has been submitted before.
   *
   * @param gradients none where the batch is not the last one of its step
   */
  exchange(gradients: readonly GPUBuffer[], results: ExchangedResults): Promise<void>;
  /**
   * Bytes of gradients that are exchanged together while the rest of the first part is computed; all are exchanged after it where
   * this is left out.
   */
  readonly bucketBytes?: number;
  /**
   * Begins to exchange some gradients, whose part of the step has been submitted. {@linkcode exchange}, which is not given them any
   * more, waits until they are in their places.
   *
   * @param onDone called as soon as the device is done with that part, so that it gets the next one
   */
  begin?(gradients: readonly BufferRange[], onDone: () => void): Promise<void>;
  /** Writes what all devices have of something that a step stops for: statistics of batch norm over all of them. */
  gather?(rows: GatheredRows): Promise<void>;
}

/** Gradients that are exchanged together, and the number of dispatches after which they are there. */
interface GradientBucket {
  doneAfter: number;
  ranges: BufferRange[];
}

/** Puts gradients into buckets, in the order in which the backward pass makes them: as PyTorch's DistributedDataParallel. */
export function bucketGradients(
  gradients: readonly (BufferRange & { doneAfter: number })[],
  bucketBytes: number,
): GradientBucket[] {
  const buckets: GradientBucket[] = [];
  let bytes = Infinity;
  for (const { doneAfter, ...range } of gradients.toSorted((a, b) => a.doneAfter - b.doneAfter)) {
    if (bytes >= bucketBytes) {
      buckets.push({ doneAfter, ranges: [] });
      bytes = 0;
    }
    const bucket = buckets.at(-1)!;
    bucket.doneAfter = doneAfter;
    bucket.ranges.push(range);
    bytes += range.bytes;
  }
  return buckets.map(({ doneAfter, ranges }) => ({ doneAfter, ranges: joinRanges(ranges) }));
}

/** Joins ranges that lie one behind the other, but for what aligns them. */
function joinRanges(ranges: readonly BufferRange[]): BufferRange[] {
  const joined: BufferRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.offset - b.offset)) {
    const before = joined.find(({ buffer, offset, bytes }) =>
      buffer === range.buffer && range.offset - (offset + bytes) < ALIGNMENT
    );
    if (before === undefined) joined.push({ ...range });
    else before.bytes = range.offset + range.bytes - before.offset;
  }
  return joined;
}

const NO_RESULTS: ExchangedResults = { sums: [], rows: [] };

/** Which batch of how many whose gradients make one step. */
export interface BatchInGroup {
  /** From 0. */
  index: number;
  size: number;
}

/** A batch that makes a step by itself. */
export const WHOLE: BatchInGroup = { index: 0, size: 1 };

/** Whether a batch is the last one of its step: the weights change with it. */
export function isLast({ index, size }: BatchInGroup): boolean {
  return index === size - 1;
}

/**
 * Which of its step's batches one is, where so many accumulate: those that are left at an epoch's end make a smaller step.
 *
 * @param batch from 0, in its epoch
 */
export function groupOf(batch: number, batchesPerEpoch: number, accumulate: number): BatchInGroup {
  const index = batch % accumulate;
  return { index, size: Math.min(accumulate, batchesPerEpoch - (batch - index)) };
}

/** How a step is taken. */
export interface StepSettings {
  /** Of each model. */
  learningRates: readonly number[];
  /** Which of how many batches this is; the weights change with the last one alone. */
  group?: BatchInGroup;
  /** What {@linkcode AVERAGE} keeps of itself at the first batch of a group. */
  averageMomentum?: number;
  /** Take {@linkcode TrainingStep.readStats} of this step, if the weights change with it. */
  takesStats?: boolean;
}

/** A segment of an arena, by its tensor. */
interface ArenaSegment {
  tensor: Tensor;
  model: number;
  arena: string;
  segment: number;
}

/** What follows the gradients, traced: sums over a group in a program of their own, since every batch runs it. */
interface TracedOptimizer {
  /** Runs before the gradients. */
  average?: { graph: Graph; momentum: Tensor; segments: ArenaSegment[] };
  sums?: { graph: Graph; group: Tensor; segments: ArenaSegment[] };
  graph: Graph;
  learningRates: readonly Tensor[];
  control?: Tensor;
  segments: ArenaSegment[];
}

/** Arenas as tensors of a graph, each made once. */
class Arenas {
  readonly segments: ArenaSegment[] = [];
  readonly #graph: Graph;
  readonly #segments: readonly (readonly { length: number; decays: boolean }[])[];

  constructor(
    graph: Graph,
    models: readonly TrainedModel[],
    target: Target,
    { separatesDecay }: OptimizerRule,
  ) {
    this.#graph = graph;
    this.#segments = models.map(({ parameters }) => arenaSegments(parameters, target, separatesDecay));
  }

  /** Numbers of a model's segments. */
  of(model: number): number[] {
    return [...this.#segments[model].keys()];
  }

  /** Whether the weights of a segment decay, where those that do not are apart. */
  decays(model: number, segment: number): boolean {
    return this.#segments[model][segment].decays;
  }

  tensor(model: number, arena: string, segment: number): Tensor {
    const same = (other: ArenaSegment) =>
      other.model === model && other.arena === arena && other.segment === segment;
    const known = this.segments.find(same);
    if (known !== undefined) return known.tensor;
    const tensor = this.#graph.source(`${arena} arena ${segment}`, [this.#segments[model][segment].length]);
    this.segments.push({ tensor, model, arena, segment });
    return tensor;
  }
}

function traceOptimizer(
  { models, control: gradientControl }: GradientGraph,
  options: OptimizerOptions,
  target: Target,
): TracedOptimizer {
  const { rule, isChecked = false, lossScaleRule = FIXED_SCALE, clipNorm, accumulates, averages } = options;
  if (!isChecked && (rule.needsControl || clipNorm !== undefined || gradientControl !== undefined)) {
    throw new Error("expected isChecked, as this step needs checked gradients");
  }
  const graph = new Graph();
  const arenas = new Arenas(graph, models, target, rule);
  const gradientArena = accumulates ? SUM : GRADIENT;
  const control = isChecked ? stepControl(graph) : undefined;
  const all = [...models.keys()].flatMap((model) => arenas.of(model).map((segment) => ({ model, segment })));
  if (control !== undefined) {
    const gradients = all.map(({ model, segment }) => arenas.tensor(model, gradientArena, segment));
    graph.applyAll(updateLossScale, [control, ...gradients], lossScaleRule);
    if (clipNorm !== undefined) graph.applyAll(clipGradients, [control, ...gradients], { maxNorm: clipNorm });
  }
  const learningRates = models.map(() => graph.source("learning rate", [1]));
  for (const { model, segment } of all) {
    const tensor = (arena: string) => arenas.tensor(model, arena, segment);
    rule.trace(graph, {
      parameter: tensor("parameter"),
      gradient: tensor(gradientArena),
      state: Object.fromEntries(rule.state.map((arena) => [arena, tensor(arena)])),
      learningRate: learningRates[model],
      control,
      decays: arenas.decays(model, segment),
    });
  }
  return {
    graph,
    learningRates,
    control,
    segments: arenas.segments,
    ...accumulates && { sums: traceSums(models, target, rule) },
    ...averages && { average: traceAverage(models, target, rule) },
  };
}

function traceAverage(
  models: readonly TrainedModel[],
  target: Target,
  rule: OptimizerRule,
): TracedOptimizer["average"] {
  const graph = new Graph();
  const arenas = new Arenas(graph, models, target, rule);
  const momentum = graph.source("momentum of the average", [1]);
  for (const model of models.keys()) {
    for (const segment of arenas.of(model)) {
      const [average, weights] = [AVERAGE, "parameter"].map((arena) => arenas.tensor(model, arena, segment));
      graph.applyAll(movingAverage, [average, weights, momentum], {});
    }
  }
  return { graph, momentum, segments: arenas.segments };
}

function traceSums(
  models: readonly TrainedModel[],
  target: Target,
  rule: OptimizerRule,
): TracedOptimizer["sums"] {
  const graph = new Graph();
  const arenas = new Arenas(graph, models, target, rule);
  const group = graph.source("place in the group", [2]);
  for (const model of models.keys()) {
    for (const segment of arenas.of(model)) {
      const [sum, gradient] = [SUM, GRADIENT].map((arena) => arenas.tensor(model, arena, segment));
      graph.applyAll(accumulate, [sum, gradient, group], {});
    }
  }
  return { graph, group, segments: arenas.segments };
}

/** A program of a step, as it is compiled or only scheduled. */
interface Part {
  label: string;
  graph: Graph;
  inputs: readonly Tensor[];
  outputs: readonly Tensor[];
  bound: readonly Tensor[];
  mixedPrecision?: boolean;
}

/** Every program of a step: the gradients', the sums' where there are any, the optimizer's, the average's if it is kept. */
function partsOf(traced: GradientGraph, { sums, average, ...optimizer }: TracedOptimizer): Part[] {
  const { label, graph, inputs, outputs, models, state = [], control, mixedPrecision } = traced;
  const ifThere = (tensor: Tensor | undefined) => tensor === undefined ? [] : [tensor];
  const tensorsOfArenas = (segments: readonly ArenaSegment[]) => segments.map(({ tensor }) => tensor);
  return [
    {
      label,
      graph,
      inputs,
      outputs,
      bound: [
        ...models.flatMap(({ parameters, gradients, averaged = [] }) => [
          ...parameters.map(({ tensor }) => tensor),
          ...gradients,
          ...averaged,
        ]),
        ...state,
        ...ifThere(control),
      ],
      mixedPrecision,
    },
    ...sums === undefined ? [] : [{
      label: `${label}, sums`,
      graph: sums.graph,
      inputs: [sums.group],
      outputs: [],
      bound: tensorsOfArenas(sums.segments),
    }],
    {
      label: `${label}, optimizer`,
      graph: optimizer.graph,
      inputs: optimizer.learningRates,
      outputs: [],
      bound: [...tensorsOfArenas(optimizer.segments), ...ifThere(optimizer.control)],
    },
    ...average === undefined ? [] : [{
      label: `${label}, average`,
      graph: average.graph,
      inputs: [average.momentum],
      outputs: [],
      bound: tensorsOfArenas(average.segments),
    }],
  ];
}

/** The dispatches of a step and its memory, program by program, without a device: what it would be on such a target. */
export function scheduleTrainingStep(
  target: Target,
  traced: GradientGraph,
  options: OptimizerOptions,
): Schedule[] {
  return partsOf(traced, traceOptimizer(traced, options, target)).map((part) => makeSchedule(target, part));
}

const STATE_USAGE = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

/** A compiled step with its weights, gradients and state. */
export class TrainingStep implements Disposable {
  /** Of each model. */
  readonly stores: readonly ParameterStore[];
  /** The gradients', the sums' where there are any, the optimizer's, the average's where it is kept. */
  readonly programs: readonly Program[];
  readonly #gpu: Gpu;
  readonly #optimizer: TracedOptimizer;
  readonly #gradients: readonly GPUBuffer[];
  /** None where gradients are exchanged when all are there. */
  readonly #buckets: readonly GradientBucket[];
  readonly #buffers: ReadonlyMap<Tensor, GPUBuffer>;
  readonly #control: GPUBuffer | undefined;
  readonly #exchange: GradientExchange | undefined;
  /** Of each model, where they were asked for. */
  readonly #norms: readonly LayerNormReader[];
  readonly #timer: SubmissionTimer | undefined;
  readonly #runs: RepeatedRuns;

  private constructor(
    gpu: Gpu,
    optimizer: TracedOptimizer,
    stores: readonly ParameterStore[],
    programs: readonly Program[],
    norms: readonly LayerNormReader[],
    buffers: ReadonlyMap<Tensor, GPUBuffer>,
    exchange: GradientExchange | undefined,
    models: readonly TrainedModel[],
  ) {
    this.#gpu = gpu;
    this.#runs = new RepeatedRuns(gpu);
    this.#optimizer = optimizer;
    this.stores = stores;
    this.programs = programs;
    this.#norms = norms;
    this.#timer = norms.length > 0 && exchange === undefined ? SubmissionTimer.on(gpu) : undefined;
    this.#buffers = buffers;
    this.#exchange = exchange;
    this.#control = optimizer.control && buffers.get(optimizer.control);
    if (this.#waits && exchange?.gather === undefined) {
      throw new Error(
        `${programs[0].label}: expected an exchange that gathers, as the step waits for other devices`,
      );
    }
    this.#gradients = stores.flatMap((store) =>
      store.segments(optimizer.sums === undefined ? GRADIENT : SUM)
    );
    this.#buckets = this.#findBuckets(models);
  }

  /** Where gradients are exchanged while others are computed. */
  #findBuckets(models: readonly TrainedModel[]): GradientBucket[] {
    const bytes = this.#exchange?.bucketBytes;
    // Sums over a group are there when all is over.
    if (bytes === undefined || this.#optimizer.sums !== undefined || this.#waits) return [];
    const gradients = models.flatMap(({ parameters, gradients }, model) =>
      tensorsOf(parameters, "parameter").map((tensor, i) => ({
        ...this.stores[model].rangeOf(tensor, GRADIENT),
        doneAfter: this.gradientProgram.doneAfter(gradients[i]),
      }))
    );
    return bucketGradients(gradients, bytes);
  }

  /** Compiles a step. Its weights are to be loaded into {@linkcode stores}. */
  static async create(
    gpu: Gpu,
    traced: GradientGraph,
    options: OptimizerOptions,
    exchange?: GradientExchange,
  ): Promise<TrainingStep> {
    const optimizer = traceOptimizer(traced, options, gpu.target);
    const arenas = [
      GRADIENT,
      ...options.rule.state,
      ...options.accumulates ? [SUM] : [],
      ...options.averages ? [AVERAGE] : [],
    ];
    const stores = traced.models.map(({ parameters }) =>
      new ParameterStore(gpu, parameters, arenas, options.rule.separatesDecay)
    );
    const buffers = new Map<Tensor, GPUBuffer>();
    const bound = new Map<Tensor, BufferRange>();
    const bind = (tensor: Tensor, buffer: GPUBuffer) =>
      bound.set(tensor, { buffer, offset: 0, bytes: byteLength(tensor) });
    for (const [i, { parameters, gradients, averaged }] of traced.models.entries()) {
      for (const [tensor, range] of stores[i].bindings()) bound.set(tensor, range);
      for (const [j, tensor] of tensorsOf(parameters, "parameter").entries()) {
        bound.set(gradients[j], stores[i].rangeOf(tensor, GRADIENT));
        if (averaged !== undefined) bound.set(averaged[j], stores[i].rangeOf(tensor, AVERAGE));
      }
    }
    for (
      const { tensor, model, arena, segment } of [
        ...optimizer.segments,
        ...optimizer.sums?.segments ?? [],
        ...optimizer.average?.segments ?? [],
      ]
    ) bind(tensor, stores[model].segments(arena)[segment]);
    const createBuffer = (tensor: Tensor) => {
      const { label } = tensor;
      const buffer = gpu.device.createBuffer({ label, size: byteLength(tensor), usage: STATE_USAGE });
      buffers.set(tensor, buffer);
      bind(tensor, buffer);
      return buffer;
    };
    for (const tensor of traced.state ?? []) createBuffer(tensor);
    if (optimizer.control !== undefined) {
      const control = createBuffer(optimizer.control);
      gpu.device.queue.writeBuffer(control, 0, packStepControl(options.lossScale ?? NO_SCALE, options.steps));
      if (traced.control !== undefined) bind(traced.control, control);
    }
    const programs: Program[] = [];
    for (const part of partsOf(traced, optimizer)) {
      const places = new Map(part.bound.map((tensor) => [tensor, bound.get(tensor)!]));
      programs.push(await Program.compile(gpu, { ...part, bound: places }));
    }
    const norms: LayerNormReader[] = [];
    const groups = layerGroupsOf(traced.models.map(({ parameters }) => parameters));
    for (const [i, { parameters }] of options.hasStats ? traced.models.entries() : []) {
      norms.push(
        await LayerNormReader.create(gpu, stores[i], parameters, {
          groups: groups[i],
          arena: optimizer.sums === undefined ? GRADIENT : SUM,
          control: optimizer.control && buffers.get(optimizer.control),
        }),
      );
    }
    return new TrainingStep(gpu, optimizer, stores, programs, norms, buffers, exchange, traced.models);
  }

  /** The first part: what the host writes to and reads from. */
  get gradientProgram(): Program {
    return this.programs[0];
  }

  /** Whether the first part stops for what other devices compute. */
  get #waits(): boolean {
    return this.gradientProgram.segments.length > 1;
  }

  /** The buffer of a tensor that outlives a step. */
  bufferOf(tensor: Tensor): GPUBuffer {
    return this.#buffers.get(tensor)!;
  }

  /** See `stepControl`; where gradients are checked. */
  get control(): GPUBuffer {
    return this.#control!;
  }

  /** Counts the steps that changed the weights from 0: of an optimizer that begins anew. Its arenas are not changed. */
  resetSteps(): void {
    this.#gpu.device.queue.writeBuffer(this.control, STEPS_OFFSET, Float32Array.of(0));
  }

  /**
   * Submits one step; what the gradient program reads has been written before.
   *
   * @param finish encodes what comes after it
   * @param results what else is exchanged; then every batch is, not the last one of a step alone
   * @returns nothing, or with an exchange a promise of its end, before which the next step must not begin
   */
  submit(
    { learningRates, group = WHOLE, averageMomentum = 0, takesStats = false }: StepSettings,
    finish: (encoder: GPUCommandEncoder) => void,
    results: ExchangedResults = NO_RESULTS,
  ): Promise<void> | undefined {
    const { sums, average } = this.#optimizer;
    const [gradients, ...others] = this.programs;
    const averaging = average && others.pop()!;
    const optimizer = others.at(-1)!;
    if (group.size > 1 && sums === undefined) {
      throw new Error("a group of batches needs a step that accumulates");
    }
    for (const [i, tensor] of this.#optimizer.learningRates.entries()) {
      optimizer.write(tensor, padRows([learningRates[i]], [1]));
    }
    const programs = [gradients];
    if (averaging !== undefined && group.index === 0) {
      averaging.write(average!.momentum, padRows([averageMomentum], [1]));
      programs.unshift(averaging);
    }
    if (sums !== undefined) {
      others[0].write(sums.group, padRows([group.index, 1 / group.size], [2]));
      programs.push(others[0]);
    }
    const timer = takesStats ? this.#timer : undefined;
    const submit = (parts: readonly Program[]) => this.#runs.submit(parts, finish, timer);
    const endsStep = isLast(group);
    const last = endsStep ? [...takesStats ? this.#norms.map(({ program }) => program) : [], optimizer] : [];
    const exchanges = endsStep || results.sums.length + results.rows.length > 0;
    if (this.#exchange === undefined || !exchanges) return void submit([...programs, ...last]);
    const exchange = this.#exchange;
    const finished = () =>
      exchange.exchange(endsStep ? this.#gradients : [], results).then(() => submit(last));
    if (this.#waits) return runSegments(this.#gpu, programs, (rows) => exchange.gather!(rows)).then(finished);
    if (endsStep && this.#buckets.length > 1) {
      return this.#runBuckets(programs.slice(0, -1), exchange)
        .then(() => exchange.exchange([], results)).then(() => submit(last));
    }
    this.#runs.submit(programs);
    return finished();
  }

  /** Runs the first part bucket by bucket: while one is exchanged, the device computes the next. */
  async #runBuckets(before: readonly Program[], exchange: GradientExchange): Promise<void> {
    if (before.length > 0) this.#runs.submit(before);
    const program = this.gradientProgram;
    const ends = [...this.#buckets.map(({ doneAfter }) => doneAfter).slice(0, -1), program.dispatches];
    const run = (part: number) => program.runPart(ends[part - 1] ?? 0, ends[part]);
    run(0);
    for (const [i, { ranges }] of this.#buckets.entries()) {
      await exchange.begin!(ranges, () => {
        if (i + 1 < ends.length) run(i + 1);
      });
    }
  }

  /** Reads what the step that was just submitted tells of itself; later ones may follow before it is here. */
  async readStats(): Promise<StepStats> {
    const norms = Promise.all(this.#norms.map((reader) => reader.read()));
    const [found, deviceSeconds] = await Promise.all([norms, this.#timer?.read()]);
    const gradientNorms = Object.assign({}, ...found.map((norms) => norms.gradientNorms));
    const weightNorms = Object.assign({}, ...found.map((norms) => norms.weightNorms));
    return { gradientNorms, weightNorms, deviceSeconds };
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    for (const program of this.programs) program.destroy();
    for (const norms of this.#norms) norms[Symbol.dispose]();
    this.#timer?.[Symbol.dispose]();
    for (const store of this.stores) store[Symbol.dispose]();
    for (const buffer of this.#buffers.values()) buffer.destroy();
  }
}
