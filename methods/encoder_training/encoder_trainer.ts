/** Trains an encoder, tells how it goes, and writes checkpoints: what every method's trainer does. */
import { join } from "node:path";
import { type BatchNumber, isAfter } from "../../actors/batch_number.ts";
import { BestEffort } from "../../actors/best_effort.ts";
import type { Monitor } from "../../actors/events.ts";
import type { BatchPosition, NamedValues, ViewBatch, ViewSample } from "../../actors/messages.ts";
import { profileAll } from "../../actors/run_profile.ts";
import type { ActorRef, Handlers } from "../../actors/runtime/mod.ts";
import type { Trainer } from "../../actors/trainer.ts";
import { UserError } from "../../errors.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import {
  FIXED_SCALE,
  GRAD_SCALER,
  INITIAL_LOSS_SCALE,
  type LossScale,
} from "../../kernels/ops/loss_scale/loss_scale.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import type { NamedTensor } from "../../models/checkpoint/named_tensor.ts";
import { readFinite } from "../../models/checkpoint/read_finite.ts";
import { buildResumeState, readResumeState } from "../../models/checkpoint/resume_state.ts";
import type { SavedInput } from "../../models/checkpoint/saved_input.ts";
import type { TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import { inputOf } from "../../models/encoder_input.ts";
import type { StateValues } from "../../models/initialize.ts";
import { distillLearningRate } from "../../models/optim/schedule.ts";
import { findEncoder } from "../../models/registry.ts";
import { similarityMap } from "../../models/similarity_map.ts";
import { type BatchInGroup, groupOf } from "../../models/training_step.ts";
import { cropRatioOf } from "../encoder_views.ts";
import type { RunIdentity } from "../terms.ts";
import { buildTrainingCheckpoint, readTrainingCheckpoint, transpose } from "./checkpoint.ts";
import type { TrainerEvent } from "./events.ts";
import { initialWeights } from "./initial_weights.ts";
import type { StepLoss } from "./loss_reader.ts";
import type { EncoderTrainer, QueueContents } from "./messages.ts";
import type { QueueShape, TrainedBy, TrainedEncoder } from "./trained_encoder.ts";
import { type EncoderTrainingOptions, hasProbeSet, scheduleOf } from "./options.ts";
import type { EncoderStep, EncoderStepOptions, EncoderStepSettings } from "./step.ts";

/** Configuration of the trainer of an encoder. */
export interface EncoderTrainerConfig<Options> {
  /** Options of the whole run. */
  options: Options;
  /** Contents of the queue at the start. */
  queue: QueueContents;
  /** Epoch and batch of the first batch that will come. */
  done: BatchNumber;
  /** Batches of an epoch. */
  batchesPerEpoch: number;
  /** Settings and origin of the run, which checkpoints record: a resumed run is compared with them. */
  identity?: RunIdentity;
  /** Receives the events of steps and checkpoints. */
  monitor: ActorRef<Monitor<TrainerEvent>>;
}

/** The encoder beside the trained one, as a checkpoint holds it. */
export interface EncoderBeside extends Disposable {
  tensors: NamedTensor[] | ReadonlyMap<string, TensorRef>;
  /** What is to be known of its images, where they are not those of the trained one. */
  input?: SavedInput;
}

/** What a method's trainer does by itself. */
export interface TrainerDuties<Options, Batch, Step extends EncoderStep> {
  method: TrainedBy<Options>;
  step: Step;
  /** Submits a step, and returns at once. */
  submit(batch: Batch, settings: EncoderStepSettings): Promise<StepLoss>;
  /** Returns what the first image's embedding is to be like [dimension]; its step has just been submitted. */
  firstTarget(batch: Batch): Float32Array | Promise<Float32Array>;
  /** Of the softmax that a snapshot shows. */
  temperatures: { temperature: number; teacherTemperature: number };
  /** What may keep training from diverging, beside a lower learning rate: `a higher --temp (now 0.2)`. */
  advice: readonly string[];
  /**
   * Opens the encoder beside the trained one.
   *
   * @param named makes a state_dict of values
   */
  openBeside(named: (values: StateValues) => NamedTensor[]): Promise<EncoderBeside>;
  /** Name of the checkpoint after an epoch, from 0. */
  fileName(epoch: number): string;
}

/** What a snapshot shows: views of a batch, and keys of the queue. */
const SHOWN_VIEWS = 16;
const SHOWN_KEYS = 40;

/** What is kept of a batch that a snapshot shows. */
interface Shown {
  views: ViewSample;
  target: Float32Array | Promise<Float32Array>;
}

/** The state of a trainer. */
export class EncoderTraining<
  Options extends EncoderTrainingOptions,
  Batch extends ViewBatch,
  Step extends EncoderStep,
> {
  readonly #config: EncoderTrainerConfig<Options>;
  readonly #trainer: Trainer;
  readonly #duties: TrainerDuties<Options, Batch, Step>;
  readonly #encoder: TrainedEncoder;
  readonly #queue: QueueShape;
  readonly #step: Step;
  /** The last batch that was trained on; before the first one `batch` is one less than the first. */
  #last: BatchNumber & { lr: number };
  /** Row of the queue that the next batch's first key replaces. */
  #queuePointer: number;
  /** When the last checkpoint was written, or the run began. */
  #savedAt = performance.now();
  /** Batches trained on in the whole run: PyTorch's `num_batches_tracked`. */
  #tracked: number;
  #lossScale: LossScale | undefined;
  #isSnapshotDue = false;
  #areStatsDue = false;
  /** Whether a checkpoint is to be written when the batches that accumulate have become a step. */
  #isSaveDue = false;
  readonly #effort: BestEffort;

  private constructor(
    config: EncoderTrainerConfig<Options>,
    trainer: Trainer,
    duties: TrainerDuties<Options, Batch, Step>,
    lossScale: LossScale | undefined,
  ) {
    this.#config = config;
    this.#trainer = trainer;
    this.#duties = duties;
    this.#step = duties.step;
    this.#lossScale = lossScale;
    this.#effort = new BestEffort((text) => void this.#tell({ type: "warning", text }).catch(() => {}));
    const { done: { epoch, batch }, batchesPerEpoch, options } = config;
    this.#encoder = duties.method.encoder(options);
    this.#queue = duties.method.queue(options);
    this.#last = { epoch, batch: batch - 1, lr: distillLearningRate(epoch, scheduleOf(options)) };
    this.#tracked = epoch * batchesPerEpoch + batch;
    this.#queuePointer = config.queue.pointer;
  }

  /**
   * Compiles a method's step, and loads what it starts with: fresh weights, or those of the checkpoint that is resumed from.
   *
   * @param create compiles the step, and says what the method does by itself
   */
  static async start<
    Options extends EncoderTrainingOptions,
    Batch extends ViewBatch,
    Step extends EncoderStep,
  >(
    trainer: Trainer,
    config: EncoderTrainerConfig<Options>,
    method: TrainedBy<Options>,
    create: (
      gpu: Gpu,
      options: EncoderStepOptions,
    ) => Promise<Omit<TrainerDuties<Options, Batch, Step>, "method">>,
  ): Promise<EncoderTraining<Options, Batch, Step>> {
    const { options, queue } = config;
    const isScaled = options.amp || options.onNan === "skip";
    const lossScale = isScaled ? await readLossScale(method, options) : undefined;
    const encoder = method.encoder(options);
    const duties = await create(trainer.gpu, {
      encoder: findEncoder(encoder.arch),
      head: encoder.head,
      batch: options.batchSize,
      imageSize: options.imageSize,
      queueSize: method.queue(options).size,
      momentum: options.momentum,
      weightDecay: options.weightDecay,
      accumulate: options.accumulate,
      ...options.clipGrad !== null && { clipNorm: options.clipGrad },
      hasStats: options.statsEvery > 0,
      dropoutSeed: options.seed,
      checkpointActivations: options.checkpointActivations,
      mixedPrecision: options.amp,
      lossScale,
      lossScaleRule: options.amp ? GRAD_SCALER : FIXED_SCALE,
    });
    const { step } = duties;
    if (options.resume === null) {
      const weights = new Map(await initialWeights(encoder, options.seed, step.state));
      const read = (key: string) => weights.get(key)!;
      await step.load(read, read);
    } else await loadCheckpoint(method, step, options.resume);
    step.queues[0].load(queue.keys);
    if (queue.local !== undefined) step.queues[1].load(queue.local);
    return new EncoderTraining(config, trainer, { ...duties, method }, lossScale);
  }

  /** What every method's trainer answers. */
  get handlers(): Handlers<EncoderTrainer> {
    return {
      connect: (peers) => this.#trainer.connect(peers),
      progress: () => this.progress(),
      weights: () => this.weights(),
      requestSnapshot: () => this.requestSnapshot(),
      save: async () => ({ path: await this.save(), step: this.step }),
      profile: () =>
        profileAll(Object.fromEntries(this.#step.programs.map((program) => [program.label, program]))),
    };
  }

  #tell(event: TrainerEvent): Promise<void> {
    return this.#config.monitor.tell("event", event);
  }

  /** Which of the batches that accumulate to a step one is. */
  #groupOf({ batch }: BatchNumber): BatchInGroup {
    const { batchesPerEpoch, options } = this.#config;
    return groupOf(batch, batchesPerEpoch, options.accumulate);
  }

  /** The next step is looked into. */
  requestSnapshot(): void {
    this.#isSnapshotDue = true;
  }

  /** One step. It is submitted before the loss of the one before it is known, so that the device never waits. */
  async train(batch: Batch, queuePointer: number = this.#queuePointer): Promise<void> {
    const { position } = batch;
    // Once more, after a restart of another actor.
    if (!isAfter(position, this.#last)) return await this.#trainer.giveBack(batch);
    const { options } = this.#config;
    const lr = distillLearningRate(position.epoch, scheduleOf(options));
    const group = this.#groupOf(position);
    this.#areStatsDue ||= options.statsEvery > 0 && (this.#tracked + 1) % options.statsEvery === 0;
    const loss = this.#duties.submit(batch, {
      learningRate: lr,
      queuePointer,
      step: this.#tracked,
      group,
      takesStats: this.#areStatsDue,
    });
    if (isLast(group)) this.#areStatsDue = false;
    this.#last = { epoch: position.epoch, batch: position.batch, lr };
    this.#tracked++;
    this.#queuePointer = (queuePointer + options.batchSize) % this.#queue.size;
    const shown = this.#isSnapshotDue
      ? this.#effort.attempt("the snapshot of a step", () => this.#copyShown(batch))
      : undefined;
    await this.#trainer.giveBack(batch);
    if (shown !== undefined) {
      await this.#effort.attempt("the snapshot of a step", () => this.#show(position, queuePointer, shown));
    }
    await this.#trainer.report((before) => this.#report(position, lr, loss, before));
    this.#isSaveDue ||= position.endsEpoch || this.#isIntervalOver();
    if (this.#isSaveDue && isLast(group)) await this.#saveAfter(position);
  }

  /** Writes a checkpoint, and tells of it. */
  async #saveAfter({ epoch, endsEpoch }: BatchPosition): Promise<void> {
    const path = await this.#write();
    const { knnEvery, testData } = this.#config.options;
    const isDue = testData !== null && knnEvery > 0 && (epoch + 1) % knnEvery === 0;
    const isWanted = endsEpoch && (isDue || hasProbeSet(this.#config.options));
    const weights = isWanted ? await this.weights() : undefined;
    await this.#tell({ type: "saved", epoch, endsEpoch, path, ...weights && { weights } });
  }

  /** What a snapshot needs of a batch whose buffers are about to go. */
  #copyShown(batch: Batch): Shown {
    this.#isSnapshotDue = false;
    const { views, images } = batch;
    const { imageSize: size } = this.#config.options;
    const count = Math.min(SHOWN_VIEWS, images.count);
    const pixels = new Uint8Array(views.slice(0, count * size * size * 4));
    return { views: { pixels, count, size, isLocal: false }, target: this.#duties.firstTarget(batch) };
  }

  /** Tells the monitor what the step just submitted was about. */
  async #show(position: BatchPosition, ownKey: number, { views, target }: Shown): Promise<void> {
    const { dimension } = this.#encoder.head;
    const pair = new Float32Array(2 * dimension);
    pair.set((await target).subarray(0, dimension));
    pair.set((await this.#step.readEmbeddings()).subarray(0, dimension), dimension);
    const cosines = await this.#step.queues[0].compare(pair);
    const keys = cosines.length / 2;
    const similarities = similarityMap(cosines.subarray(0, keys), cosines.subarray(keys), {
      ...this.#duties.temperatures,
      ownKey,
      count: SHOWN_KEYS,
    });
    const step = position.epoch * this.#config.batchesPerEpoch + position.batch + 1;
    await this.#tell({ type: "snapshot", ...position, step, views, similarities });
  }

  /** Steps of the whole run that are done. */
  get step(): number {
    const { epoch, batch } = this.#last;
    return epoch * this.#config.batchesPerEpoch + batch + 1;
  }

  /** Where training is, for those that are started again. */
  progress(): { newest: BatchNumber; queuePointer: number } {
    const { epoch, batch } = this.#last;
    return { newest: { epoch, batch }, queuePointer: this.#queuePointer };
  }

  #isIntervalOver(): boolean {
    const { saveEvery } = this.#config.options;
    if (saveEvery === null) return false;
    if ("steps" in saveEvery) return this.#tracked % saveEvery.steps === 0;
    return performance.now() - this.#savedAt >= 1000 * saveEvery.seconds;
  }

  /** Tells of a step when its loss has come back from the device, and the step before has been told of. */
  async #report(
    position: BatchPosition,
    lr: number,
    promise: Promise<StepLoss>,
    before: Promise<void>,
  ): Promise<void> {
    const { loss, isApplied, lossScale, stats } = await promise;
    await before; // which may have had more to tell
    this.#lossScale = lossScale;
    const { onNan, amp } = this.#config.options;
    // Mixed precision skips a step now and then, and that is its way.
    if (!Number.isFinite(loss) || (!isApplied && !amp)) {
      const where = `epoch ${position.epoch}, batch ${position.batch}`;
      if (onNan === "stop" || isApplied) {
        const found = Number.isFinite(loss)
          ? `the gradients are not finite in ${where} (the loss is ${loss})`
          : `the loss is ${loss} in ${where}`;
        throw new UserError(
          `${found}: training has diverged. Earlier checkpoints are intact; ${this.#advise(lr)}`,
        );
      }
      const text = `step skipped in ${where}: the gradients are not finite, and the loss is ${loss}`;
      await this.#tell({ type: "warning", text: `${text} (${lossScale!.skipped} so far)` });
    }
    const { epoch, batch } = position;
    const step = epoch * this.#config.batchesPerEpoch + batch + 1;
    if (stats !== undefined) { // before the step, after which the run may be over
      const { allocatedBytes: deviceBytes } = this.#trainer.gpu;
      const { rss: processBytes } = Deno.memoryUsage();
      await this.#tell({ type: "stats", epoch, step, ...stats, deviceBytes, processBytes });
    }
    await this.#tell({ type: "step", epoch, step, loss, lr, ...lossScale && { lossScale } });
  }

  /** Suggests settings that may keep training from diverging. */
  #advise(lr: number): string {
    const { lr: given, onNan, amp } = this.#config.options;
    const advice = [
      `a lower --lr (now ${given}${given === lr ? "" : `, ${lr} in this epoch`})`,
      ...this.#duties.advice,
      ...onNan === "skip" ? [] : ["--on-nan skip"],
      ...amp ? ["no --amp"] : [],
    ];
    return `try ${new Intl.ListFormat("en-US", { type: "disjunction" }).format(advice)}`;
  }

  async weights(): Promise<NamedValues> {
    await this.#trainer.reported;
    return [...await this.#step.save()];
  }

  /** Fails where something that a checkpoint holds is not finite. */
  #requireFinite(what: string, values: Iterable<readonly [string, Float32Array]>): void {
    const { epoch, batch, lr } = this.#last;
    this.#trainer.requireFinite(
      values,
      (problem) =>
        `${what} ${problem} after epoch ${epoch}, batch ${batch}: training has diverged, so no checkpoint is written. ` +
        `Earlier checkpoints are intact; ${this.#advise(lr)}`,
    );
  }

  /**
   * Writes a checkpoint of everything up to the last batch, or says that this is due: when the batches that have accumulated
   * have become a step.
   */
  async save(): Promise<string | null> {
    const { epoch, batch } = this.#last;
    if (batch < 0 || isLast(this.#groupOf({ epoch, batch }))) return await this.#write();
    this.#isSaveDue = true;
    return null;
  }

  /**
   * Writes a checkpoint with the original's keys and file name.
   *
   * @throws {UserError} where a number of it is not finite; nothing is written then
   */
  async #write(): Promise<string> {
    await this.#trainer.reported;
    const { options, batchesPerEpoch } = this.#config;
    const { epoch, batch, lr } = this.#last;
    const { layout, noun, besideNoun } = this.#duties.method;
    const { arch, head } = this.#encoder;
    const finished = batch === batchesPerEpoch - 1;
    const keys = await this.#step.queues[0].read();
    const localKeys = this.#config.queue.local && await this.#step.queues[1].read();
    const values = await this.#step.save();
    const momentum = await this.#step.parameters.saveArena("momentum");
    this.#requireFinite(`the ${noun}'s`, values);
    this.#requireFinite("the momentum of", momentum);
    this.#requireFinite("the", [["queue", keys], ...localKeys ? [["small queue", localKeys] as const] : []]);
    const queueTensor = (keys: Float32Array) => ({
      shape: [head.dimension, this.#queue.size],
      data: transpose(keys, this.#queue.size, head.dimension),
    });
    const input = inputOf(findEncoder(arch), {
      imageSize: options.imageSize,
      cropRatio: cropRatioOf(options.evalResize),
    });
    using beside = await this.#duties.openBeside((values) => this.#named(values));
    if (Array.isArray(beside.tensors)) {
      this.#requireFinite(
        `the ${besideNoun}'s`,
        beside.tensors.flatMap(({ key, data }) => data instanceof Float32Array ? [[key, data] as const] : []),
      );
    }
    const path = join(options.output, this.#duties.fileName(epoch));
    await this.#trainer.write(
      path,
      buildTrainingCheckpoint(layout, {
        epoch: finished ? epoch + 1 : epoch,
        arch,
        encoder: this.#named(values),
        beside: beside.tensors,
        queue: queueTensor(keys),
        ...localKeys && { smallQueue: queueTensor(localKeys) },
        queuePointer: this.#queuePointer,
        sgd: { lr, momentum: options.momentum, weightDecay: options.weightDecay },
        momentum,
        input,
        ...beside.input && { besideInput: beside.input },
        resume: buildResumeState({
          batch: finished ? 0 : batch + 1,
          batchesPerEpoch,
          batchSize: options.batchSize,
          seed: options.seed,
          lossScale: this.#lossScale,
          ...this.#config.identity,
        }),
      }),
    );
    this.#savedAt = performance.now();
    this.#isSaveDue = false;
    return path;
  }

  /** An encoder's values as its state_dict has them, with the batches that batch norm has seen. */
  #named(values: StateValues): NamedTensor[] {
    return this.#step.state.map(({ key, shape }) => {
      const data = values.get(key);
      return data === undefined
        ? { key, shape, dtype: "int64", data: BigInt64Array.of(BigInt(this.#tracked)) }
        : { key, shape, data };
    });
  }
}

/** Whether a batch is the last one of those that accumulate. */
function isLast({ index, size }: BatchInGroup): boolean {
  return index === size - 1;
}

/** Where loss scaling was when a checkpoint was written; where it begins if the run had none. */
async function readLossScale(
  { layout }: Pick<TrainedBy<never>, "layout">,
  { amp, resume: path }: EncoderTrainingOptions,
): Promise<LossScale> {
  const initial = amp ? INITIAL_LOSS_SCALE : { ...INITIAL_LOSS_SCALE, scale: 1 };
  if (path === null) return initial;
  using file = await openCheckpointFile(path);
  const { resume } = readTrainingCheckpoint(layout, file);
  return readResumeState(resume, (problem) => new CheckpointError(path, problem)).lossScale ?? initial;
}

/** Loads the encoders from the checkpoint of an earlier run: weights, running statistics and momentum. */
async function loadCheckpoint(
  { layout }: Pick<TrainedBy<never>, "layout">,
  step: EncoderStep,
  path: string,
): Promise<void> {
  using file = await openCheckpointFile(path);
  const { encoder, beside, momentum } = readTrainingCheckpoint(layout, file);
  await step.load(
    (key) => readFinite(path, key, encoder.get(key)!),
    (key) => readFinite(path, layout.beside + key, beside.get(key)!),
  );
  const values = new Map<string, Float32Array>();
  for (const [key, tensor] of momentum) {
    values.set(key, await readFinite(path, `the momentum of ${key}`, tensor));
  }
  step.parameters.loadArena("momentum", values);
}
