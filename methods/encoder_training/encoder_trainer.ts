/** Trains an encoder, tells how it goes, and writes checkpoints: what every method's trainer does. */
import { join } from "node:path";
import { type BatchNumber, isAfter } from "../../actors/batch_number.ts";
import { BestEffort } from "../../actors/best_effort.ts";
import type { Monitor } from "../../actors/events.ts";
import type {
  BatchPosition,
  GradientExchange,
  NamedValues,
  ViewBatch,
  ViewSample,
} from "../../actors/messages.ts";
import { profileAll } from "../../actors/run_profile.ts";
import { DeviceExchange, requireSameLayout, type Wishes } from "../../actors/ranks/device_exchange.ts";
import { requireSame } from "../../actors/ranks/peers.ts";
import { type Ranks, type RankSettings, rowsOf } from "../../actors/ranks/ranks.ts";
import type { ActorRef, Handlers } from "../../actors/runtime/mod.ts";
import type { Trainer } from "../../actors/trainer.ts";
import { fingerprintFile } from "../../data/fingerprint.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import type { LossScale } from "../../kernels/ops/loss_scale/loss_scale.ts";
import { readAdamWSteps } from "../../models/checkpoint/adamw_state.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import type { NamedTensor } from "../../models/checkpoint/named_tensor.ts";
import { readFinite } from "../../models/checkpoint/read_finite.ts";
import { buildResumeState, readResumeState } from "../../models/checkpoint/resume_state.ts";
import type { SavedInput } from "../../models/checkpoint/saved_input.ts";
import type { TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import { inputOf } from "../../models/encoder_input.ts";
import { LOSS_LAYER } from "../../models/heads.ts";
import { IMAGENET_NORMALIZATION, type Normalization } from "../../models/images.ts";
import { initialize, type StateValues } from "../../models/initialize.ts";
import { isLast, lastingBuffers } from "../../models/training_step.ts";
import { UserError } from "../../errors.ts";
import { findEncoder } from "../../models/registry.ts";
import { similarityMap } from "../../models/similarity_map.ts";
import { resizedBy } from "../encoder_views.ts";
import { programFacts } from "../program_facts.ts";
import { factsOf, type RunIdentity } from "../terms.ts";
import { buildTrainingCheckpoint, readTrainingCheckpoint, transpose } from "./checkpoint.ts";
import type { TrainerEvent } from "./events.ts";
import { initialWeights } from "./initial_weights.ts";
import type { EncoderTrainer, QueueContents, SavedTraining } from "./messages.ts";
import type { QueueShape, TrainedBy, TrainedEncoder } from "./trained_encoder.ts";
import { type EncoderTrainingOptions, isEvaluatedAfter, learningRateOf } from "./options.ts";
import type { EncoderStep, EncoderStepOptions, EncoderStepSettings } from "./step.ts";
import { adamwOf, readOptimizer, saveOptimizer } from "./optimizer_state.ts";
import { initialLossScale, optimizedBy, resumedLossScale } from "./step_options.ts";
import type { StepLoss } from "./step_results.ts";
import { TrainedSteps } from "./trained_steps.ts";

/** The part of a process in a training of several. */
export interface RankOfTraining extends Ranks, Pick<RankSettings, "bucketBytes"> {
  /** Its actor that exchanges with the others. */
  exchange: ActorRef<GradientExchange>;
  /** Batches of the whole run. */
  totalSteps: number;
}

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
  /** See `StepCount`. */
  extraSteps?: number;
  /** What pixels are normalised by; ImageNet's where it is left out. */
  normalization?: Normalization;
  /** Settings and origin of the run, which checkpoints record: a resumed run is compared with them. */
  identity?: RunIdentity;
  /** This process's part in a run of several. */
  ranks?: RankOfTraining;
  /** Receives the events of steps and checkpoints. */
  monitor: ActorRef<Monitor<TrainerEvent>>;
}

/** The encoder beside the trained one, as a checkpoint holds it. */
export interface EncoderBeside {
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
   * Returns the encoder beside the trained one, as it is now.
   *
   * @param named makes a state_dict of values
   */
  beside(named: (values: StateValues) => NamedTensor[]): Promise<EncoderBeside>;
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
  readonly #steps: TrainedSteps;
  /** With the other ranks, where there are any. */
  readonly #exchange: DeviceExchange | undefined;
  /** Row of the queue that the next batch's first key replaces. */
  #queuePointer: number;
  /** When the last checkpoint was written, or the run began. */
  #savedAt = performance.now();
  #isSnapshotDue = false;
  /** What this rank wishes all to do after the next step, where there are several. */
  #wishes: Wishes = { save: false, stop: false };
  /** Whether training ends with the next checkpoint, or has ended with the last one. */
  #end: "after saving" | "now" | undefined;
  readonly #effort: BestEffort;

  private constructor(
    config: EncoderTrainerConfig<Options>,
    trainer: Trainer,
    duties: TrainerDuties<Options, Batch, Step>,
    { lossScale, steps }: SavedProgress,
    exchange: DeviceExchange | undefined,
  ) {
    this.#exchange = exchange;
    this.#config = config;
    this.#trainer = trainer;
    this.#duties = duties;
    this.#step = duties.step;
    this.#effort = new BestEffort((text) => void this.#tell({ type: "warning", text }).catch(() => {}));
    const { done: first, batchesPerEpoch, extraSteps, options } = config;
    this.#encoder = duties.method.encoder(options);
    this.#queue = duties.method.queue(options);
    this.#steps = new TrainedSteps(trainer, {
      options,
      batchesPerEpoch,
      extraSteps,
      first,
      lr: learningRateOf(options, first, batchesPerEpoch),
      lossScale,
      steps,
      advice: duties.advice,
      tell: (event) => this.#tell(event),
    });
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
      exchange: DeviceExchange | undefined,
    ) => Promise<Omit<TrainerDuties<Options, Batch, Step>, "method">>,
  ): Promise<EncoderTraining<Options, Batch, Step>> {
    const { options, queue, ranks, normalization } = config;
    let saved = await readProgress(method, options);
    const encoder = method.encoder(options);
    const exchange = ranks && new DeviceExchange(trainer.gpu, ranks, ranks.exchange, options.compress);
    const optimized = optimizedBy(options, saved.lossScale, saved.steps);
    const duties = await create(trainer.gpu, {
      encoder: findEncoder(encoder.arch),
      head: encoder.head,
      batch: rowsOf(options.batchSize, ranks),
      ranks: ranks?.size,
      syncBn: options.syncBn,
      imageSize: options.imageSize,
      normalization,
      queueSize: method.queue(options).size,
      checkpointActivations: options.checkpointActivations,
      ...optimized,
      // Each rank drops values of its own.
      dropoutSeed: optimized.dropoutSeed! + (ranks?.rank ?? 0),
    }, exchange);
    const { step } = duties;
    if (options.resume === null) {
      const weights = new Map(await initialWeights(encoder, options.seed, step.state));
      const read = (key: string) => weights.get(key)!;
      await step.load(read, read);
    } else {
      const fresh = await loadCheckpoint(method, step, options.resume, options.seed);
      if (fresh.length > 0) {
        const restarts = saved.steps !== undefined;
        if (restarts) {
          step.resetSteps();
          saved = { ...saved, steps: 0 };
        }
        const text = `${options.resume} has no layers of this loss (${
          fresh.join(", ")
        }): they begin untrained${restarts ? ", and AdamW begins anew, without its moments" : ""}`;
        await config.monitor.tell("event", { type: "warning", text, isCommon: true });
      }
    }
    step.queues[0].load(queue.keys);
    if (queue.local !== undefined) step.queues[1].load(queue.local);
    const training = new EncoderTraining(config, trainer, { ...duties, method }, saved, exchange);
    await training.#joinRanks();
    return training;
  }

  /** What every method's trainer answers. */
  get handlers(): Handlers<EncoderTrainer> {
    return {
      connect: (peers) => this.#trainer.connect(peers),
      progress: () => this.progress(),
      weights: () => this.weights(),
      requestSnapshot: () => this.requestSnapshot(),
      save: ({ ends }) => this.save(ends),
      profile: () =>
        profileAll(Object.fromEntries(this.#step.programs.map((program) => [program.label, program]))),
    };
  }

  get #normalization(): Normalization {
    return this.#config.normalization ?? IMAGENET_NORMALIZATION;
  }

  #tell(event: TrainerEvent): Promise<void> {
    return this.#config.monitor.tell("event", event);
  }

  /** Begins with the weights of the first rank, where there are several, and fails where they do not do the same. */
  async #joinRanks(): Promise<void> {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    const { done: { epoch, batch }, batchesPerEpoch, identity, options } = this.#config;
    const { batchSize, optimizer, resume } = options;
    const { mean, deviation } = this.#normalization;
    const { totalSteps } = this.#config.ranks!;
    await requireSame(this.#config.ranks!, {
      ...await programFacts(options),
      ...factsOf(identity?.terms),
      "--optimizer": optimizer,
      "--batch-size": batchSize,
      "its batches": [batchesPerEpoch, totalSteps],
      "where it begins": [epoch, batch],
      "what pixels are normalised by": [...mean, ...deviation],
      "the checkpoint that it goes on from": resume && await fingerprintFile(resume),
    });
    const lasting = lastingBuffers(this.#step.parameters);
    await requireSameLayout(this.#config.ranks!, lasting);
    await exchange.broadcast(lasting);
    await this.#requireSameWeights();
  }

  async #requireSameWeights(): Promise<void> {
    if (this.#exchange === undefined) return;
    const weights = await this.#step.parameters.saveArena("parameter");
    if (await this.#exchange.isSame(weights.values())) return;
    const { epoch, batch } = this.#steps.last;
    throw new UserError(
      `the weights of the ranks are not the same after epoch ${epoch}, batch ${batch}: a device or the library of MPI computes ` +
        "differently on some of them. Resume the run from an earlier checkpoint, without that machine",
    );
  }

  /** The next step is looked into. */
  requestSnapshot(): void {
    this.#isSnapshotDue = true;
  }

  /** One step. It is submitted before the loss of the one before it is known, so that the device never waits. */
  async train(batch: Batch, queuePointer: number = this.#queuePointer): Promise<void> {
    const { position } = batch;
    // Once more, after a restart of another actor; or after the end.
    if (this.#end === "now" || !isAfter(position, this.#steps.last)) {
      return await this.#trainer.giveBack(batch);
    }
    const { options, batchesPerEpoch } = this.#config;
    if (this.#exchange !== undefined) this.#tellWishes(this.#exchange);
    const taken = this.#steps.take(position, learningRateOf(options, position, batchesPerEpoch));
    const { lr, step, group, takesStats } = taken;
    const settings = { learningRate: lr, queuePointer, step, group, takesStats };
    const loss = this.#trainer.begin(() => this.#duties.submit(batch, settings));
    this.#queuePointer = (queuePointer + options.batchSize) % this.#queue.size;
    // Only then are the keys in the queue, those of this batch among them.
    const shown = this.#isSnapshotDue && isLast(group)
      ? this.#effort.attempt("the snapshot of a step", () => this.#copyShown(batch))
      : undefined;
    await this.#trainer.giveBack(batch);
    // The gradients of the next batch must not come into those that are being exchanged.
    if (this.#exchange !== undefined) await loss;
    if (shown !== undefined) {
      await this.#effort.attempt("the snapshot of a step", () => this.#show(position, queuePointer, shown));
    }
    await this.#steps.report(taken, loss, async ({ loss, lossScale }, { number }) => {
      const { epoch } = position;
      await this.#tell({ type: "step", epoch, step: number, loss, lr, ...lossScale && { lossScale } });
    });
    const { save, stop } = this.#exchange?.agreed ?? { save: this.#isTimeToSave(), stop: false };
    if (stop) this.#end = "after saving";
    const isDue = position.endsEpoch || this.#isStepToSave() || save || stop;
    if (position.endsEpoch) await this.#requireSameWeights();
    if (this.#steps.savesNow(isDue)) await this.#saveAfter(position);
  }

  /** The next exchange tells the other ranks what this one wishes; the clock is that of the first one. */
  #tellWishes(exchange: DeviceExchange): void {
    const { save, stop } = this.#wishes;
    exchange.wishes = { save: save || (exchange.ranks.rank === 0 && this.#isTimeToSave()), stop };
    this.#wishes = { save: false, stop: false };
  }

  /** Writes a checkpoint, and tells of it. */
  async #saveAfter({ epoch, endsEpoch }: BatchPosition): Promise<void> {
    const path = await this.#write();
    const isWanted = endsEpoch && isEvaluatedAfter(epoch, this.#config.options);
    const weights = isWanted ? await this.weights() : undefined;
    const ends = this.#end === "now";
    await this.#tell({ type: "saved", epoch, endsEpoch, path, ends, ...weights && { weights } });
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
    await this.#tell({ type: "snapshot", ...position, step: this.#steps.step, views, similarities });
  }

  /** Where training is, for those that are started again. */
  progress(): { newest: BatchNumber; queuePointer: number } {
    const { epoch, batch } = this.#steps.last;
    return { newest: { epoch, batch }, queuePointer: this.#queuePointer };
  }

  #isStepToSave(): boolean {
    const { saveEvery } = this.#config.options;
    return saveEvery !== null && "steps" in saveEvery && this.#steps.step % saveEvery.steps === 0;
  }

  #isTimeToSave(): boolean {
    const { saveEvery } = this.#config.options;
    return saveEvery !== null && "seconds" in saveEvery &&
      performance.now() - this.#savedAt >= 1000 * saveEvery.seconds;
  }

  async weights(): Promise<NamedValues> {
    await this.#trainer.reported;
    return [...await this.#step.save()];
  }

  /**
   * Writes a checkpoint of everything up to the last batch, or says that this is due: when the batches that have accumulated
   * have become a step. Of several ranks it is due after the next step, which all are told with: until the last step, after which
   * none comes.
   */
  async save(ends: boolean): Promise<SavedTraining> {
    const { step } = this.#steps;
    if (this.#exchange !== undefined && step < this.#config.ranks!.totalSteps) {
      if (this.#end === "now") return { path: this.#path(), step }; // another rank's wish
      this.#wishes = { save: true, stop: this.#wishes.stop || ends };
      return { path: null, step };
    }
    if (this.#config.options.resume === null && !this.#steps.hasBegun) {
      if (ends) this.#end = "now";
      return { path: null, step, isUntrained: true };
    }
    if (ends) this.#end = "after saving";
    return { path: this.#steps.maySave() ? await this.#write() : null, step };
  }

  /** Where the checkpoint of where training is goes to. */
  #path(): string {
    const { options } = this.#config;
    return join(options.output, this.#duties.method.fileName(this.#steps.last.epoch, options));
  }

  /**
   * Writes a checkpoint with the original's keys and file name.
   *
   * @throws {UserError} where a number of it is not finite; nothing is written then
   */
  async #write(): Promise<string> {
    if (this.#end === "after saving") this.#end = "now";
    await this.#trainer.reported;
    if ((this.#exchange?.ranks.rank ?? 0) > 0) return this.#path();
    const { options, batchesPerEpoch, extraSteps } = this.#config;
    const { last: { lr }, next } = this.#steps;
    const { layout, noun, besideNoun } = this.#duties.method;
    const { arch, head } = this.#encoder;
    const keys = await this.#step.queues[0].read();
    const localKeys = this.#config.queue.local && await this.#step.queues[1].read();
    const values = await this.#step.save();
    this.#steps.requireFinite(`the ${noun}'s`, values);
    const { momentum, moments } = await saveOptimizer(
      options,
      (arena) => this.#step.parameters.saveArena(arena),
      (what, kept) => this.#steps.requireFinite(what, kept),
    );
    this.#steps.requireFinite("the", [
      ["queue", keys],
      ...localKeys ? [["small queue", localKeys] as const] : [],
    ]);
    const queueTensor = (keys: Float32Array) => ({
      shape: [head.dimension, this.#queue.size],
      data: transpose(keys, this.#queue.size, head.dimension),
    });
    const { mean, deviation: std } = this.#normalization;
    const views = { imageSize: options.imageSize, ...resizedBy(options.evalResize) };
    const input = inputOf(findEncoder(arch), views, { mean, std });
    const beside = await this.#duties.beside((values) => this.#named(values));
    if (Array.isArray(beside.tensors)) {
      this.#steps.requireFinite(
        `the ${besideNoun}'s`,
        beside.tensors.flatMap(({ key, data }) => data instanceof Float32Array ? [[key, data] as const] : []),
      );
    }
    const path = this.#path();
    await this.#trainer.write(
      path,
      buildTrainingCheckpoint(layout, {
        epoch: next.epoch,
        arch,
        encoder: this.#named(values),
        beside: beside.tensors,
        queue: queueTensor(keys),
        ...localKeys && { smallQueue: queueTensor(localKeys) },
        queuePointer: this.#queuePointer,
        ...momentum === undefined
          ? { adamw: { lr, ...adamwOf(options) }, moments, steps: this.#steps.changes }
          : { sgd: { lr, momentum: options.momentum, weightDecay: options.weightDecay }, momentum },
        input,
        ...beside.input && { besideInput: beside.input },
        resume: buildResumeState({
          batch: next.batch,
          batchesPerEpoch,
          extraSteps,
          batchSize: options.batchSize,
          seed: options.seed,
          lossScale: this.#steps.lossScale,
          ...this.#config.identity,
        }),
      }),
    );
    this.#savedAt = performance.now();
    return path;
  }

  /** An encoder's values as its state_dict has them, with the batches that batch norm has seen. */
  #named(values: StateValues): NamedTensor[] {
    return this.#step.state.map(({ key, shape, kind }) =>
      kind === "counter"
        ? { key, shape, dtype: "int64", data: BigInt64Array.of(BigInt(this.#steps.step)) }
        : { key, shape, data: values.get(key)! }
    );
  }
}

/** What a step is compiled with, of a run that is resumed. */
interface SavedProgress {
  /** Where loss scaling was when the checkpoint was written; where it begins if the run had none; `undefined` without it. */
  lossScale: LossScale | undefined;
  /** Steps that changed the weights, where the optimizer counts them. */
  steps?: number;
}

async function readProgress(
  { layout }: Pick<TrainedBy<never>, "layout">,
  options: EncoderTrainingOptions,
): Promise<SavedProgress> {
  const { resume: path } = options;
  if (path === null) return { lossScale: initialLossScale(options) };
  using file = await openCheckpointFile(path);
  const { resume, adamw } = readTrainingCheckpoint(layout, file);
  const fail = (problem: string) => new CheckpointError(path, problem);
  const lossScale = resumedLossScale(options, readResumeState(resume, fail));
  return { lossScale, ...adamw && { steps: await readAdamWSteps(adamw, fail) } };
}

/**
 * Loads the encoders from the checkpoint of an earlier run: weights, running statistics, and what the optimizer keeps. Layers of a
 * loss that the checkpoint does not have, as that run had another loss or another teacher, are drawn anew. AdamW then begins anew
 * for all layers: its bias correction has one number of steps.
 *
 * @param seed of what is drawn
 * @returns the keys of what was drawn
 */
async function loadCheckpoint(
  { layout }: Pick<TrainedBy<never>, "layout">,
  step: EncoderStep,
  path: string,
  seed: number,
): Promise<string[]> {
  using file = await openCheckpointFile(path);
  const saved = readTrainingCheckpoint(layout, file);
  const { encoder, beside } = saved;
  const fresh = initialize(
    step.state.filter(({ key, shape }) =>
      key.startsWith(LOSS_LAYER) && encoder.get(key)?.shape.join() !== shape.join()
    ),
    seed,
  );
  await step.load(
    (key) => fresh.get(key) ?? readFinite(path, key, encoder.get(key)!),
    (key) => readFinite(path, layout.beside + key, beside.get(key)!),
  );
  if (fresh.size > 0 && saved.adamw !== undefined) return [...fresh.keys()];
  const { arenas } = await readOptimizer(path, saved);
  for (const [arena, values] of arenas) {
    const kept = new Map([...values].filter(([key]) => !fresh.has(key)));
    step.parameters.loadArena(arena, kept);
  }
  return [...fresh.keys()];
}
