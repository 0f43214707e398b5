/**
 * A run that trains an encoder: which actors there are, how they are wired, and what is asked of them in which order.
 *
 *     tsv_reader x workers -> augmenter -> (the method's own actors) -> trainer
 *     bank_reader, query_reader, probe_reader -> evaluation_augmenter -> evaluator
 *     projector
 */
import { type BatchNumber, countSteps } from "../../actors/batch_number.ts";
import { SnapshotClock } from "../../actors/diagnostics.ts";
import type { Emit } from "../../actors/events.ts";
import { ImageCaches } from "../../actors/image_caches.ts";
import type { Accuracy, NamedValues } from "../../actors/messages.ts";
import { describeRestart, listenToActors, withWarningsOnce } from "../../actors/notices.ts";
import type { ProfileCollector } from "../../actors/run_profile.ts";
import { type RankSettings, StoppedByRank } from "../../actors/ranks/ranks.ts";
import { spawnExchange } from "../../actors/ranks/spawn_exchange.ts";
import type { ActorSystem } from "../../actors/runtime/mod.ts";
import { StoppedError } from "../../actors/stopped_error.ts";
import { beforeTraining, throwIfStopped, TrainingRun } from "../../actors/training_run.ts";
import { divideProcessors } from "../../kernels/software_threads.ts";
import { findEncoder } from "../../models/registry.ts";
import { countVote, Evaluations, type LostEpoch } from "./evaluations.ts";
import type { EncoderTrainingEvent, EncoderTrainingPlan, SavedEvent, TrainerEvent } from "./events.ts";
import type { EncoderMethod } from "./method.ts";
import { checkSettings } from "../check_settings.ts";
import type { OutputSettings } from "../method.ts";
import { setAsideAbandoned } from "../output_folder.ts";
import { earlySignal, requireEqualShares } from "../rank_shares.ts";
import { runActors, type Wanted } from "../watched_actors.ts";
import { type EncoderTrainingOptions, isEvaluatedAfter, scheduleOf } from "./options.ts";
import { LossEnds, type LossMeans } from "./loss_ends.ts";
import { NOTHING_SO_FAR, type PreparedRun, prepareRun, type RunSoFar } from "./prepare.ts";
import { findStart, savedWeights } from "./start.ts";
import { TrainingPipeline } from "./training_pipeline.ts";

/** Result of a training. */
export interface EncoderTrainingResult extends LossMeans {
  /** Steps trained since this run started or was resumed. */
  steps: number;
  /** Path of the last checkpoint. */
  checkpoint: string;
  /**
   * kNN accuracy of the trained encoder before and after training, and of its teacher if it has one; `null` without test
   * data. `before` is measured at the start of the whole run, and is `null` if a resumed run no longer knows it.
   */
  knn: { teacher?: Accuracy; before: Accuracy | null; after: Accuracy } | null;
}

/**
 * Trains an encoder by a method, to the run's end. An abort of `signal` saves a checkpoint of where training is, if there was a step;
 * none is told of after that.
 *
 * @param soFar what is known of the run that `resume` goes on with
 * @throws {StoppedError} after an abort, with that checkpoint, or the one to go on from
 * @throws {NothingToDoError} where all steps are done, and `soFar` does not say that the end is missing
 * @throws {UserError} for data and checkpoints that do not fit the options
 * @throws {ActorCrash} when actors crash more often than `maxRestarts` allows; all have been stopped then
 */
export async function trainEncoder<Options extends EncoderTrainingOptions>(
  method: EncoderMethod<Options>,
  options: Options,
  emit: Emit<EncoderTrainingEvent> = () => {},
  signal?: AbortSignal,
  soFar: RunSoFar = NOTHING_SO_FAR,
  { ranks, ...wanted }: Wanted & Pick<OutputSettings, "ranks"> = {},
): Promise<EncoderTrainingResult> {
  emit = withWarningsOnce(emit);
  const early = earlySignal(signal, ranks);
  const prepared = await beforeTraining(
    early,
    options.resume,
    () => prepareRun(method, ofRank(options, ranks), emit, soFar, early),
  );
  const { train, test } = prepared;
  using caches = await ImageCaches.open({
    cache: options.cache,
    // A custom reader makes its images.
    data: [
      ...options.images === undefined ? [train.path] : [],
      ...test === null || test.heldOut !== undefined ? [] : [test.path],
    ],
    learns: options.images === undefined,
    maxPixels: prepared.options.maxPixels,
    leastSide: prepared.options.leastSide,
    ranks,
  }, emit);
  throwIfStopped(early, options.resume);
  emit({ type: "plan", ...planOf(prepared), cache: caches.description });
  if (ranks === undefined || ranks.rank === 0) await setAsideLaterThan(prepared, emit);
  const isTrained = prepared.firstStep === prepared.totalSteps;
  using _threads = divideProcessors(isTrained ? 1 : method.devices);
  return await runActors(
    options.plugins,
    wanted,
    emit,
    (system, profile) =>
      isTrained
        ? finishRun(system, prepared, caches, emit, signal)
        : new TrainingOfEncoder(system, prepared, caches, emit, signal, profile, ranks).run(),
  );
}

async function setAsideLaterThan<Options extends EncoderTrainingOptions>(
  { method, options, start: { epoch, batch } }: PreparedRun<Options>,
  emit: Emit<EncoderTrainingEvent>,
): Promise<void> {
  const last = { name: method.fileName(epoch, options), epoch: batch === 0 ? epoch - 1 : epoch };
  await setAsideAbandoned(options, last, emit);
}

/** The options as a rank has them: the first one alone evaluates, writes and removes. */
function ofRank<Options extends EncoderTrainingOptions>(
  options: Options,
  ranks: RankSettings | undefined,
): Options {
  if (ranks === undefined) return options;
  requireEqualShares(options.batchSize, ranks);
  return ranks.rank === 0 ? options : { ...options, testData: null, insight: false, keep: 0 };
}

function planOf<Options extends EncoderTrainingOptions>(
  { method, options, train, test, start, batchesPerEpoch, totalSteps, firstStep, evalResize }: PreparedRun<
    Options
  >,
): Omit<EncoderTrainingPlan, "cache"> {
  const images = train.rowCount;
  const { cifar, sizes } = findEncoder(method.encoder(options).arch);
  const settings = {
    ...options,
    ...cifar && sizes && { patches: (options.imageSize / sizes.multiple) ** 2 },
    learningRates: [options.lr],
    scale: scheduleOf(options, batchesPerEpoch).scale,
    fallsAfterWarmup: options.cos || options.schedule.some((epoch) => epoch < options.epochs),
    queue: method.readsQueue?.(options) === false ? undefined : method.queue(options).size,
    queueFlag: method.flags.queue,
  };
  const notes = checkSettings(settings, { images, batchesPerEpoch });
  const knn = test && { ...countVote(train, test), heldOut: test.heldOut !== undefined };
  const extra = start.extraSteps ? { extraSteps: start.extraSteps } : {};
  return { images, batchesPerEpoch, totalSteps, firstStep, ...extra, evalResize, knn, notes };
}

/** An end that may be put off: by a trainer that has to go back before it. */
class PutOffEnd {
  #end = Promise.withResolvers<void>();

  reach(): void {
    this.#end.resolve();
  }

  /** It has not been reached after all. */
  putOff(): void {
    const before = this.#end;
    this.#end = Promise.withResolvers();
    before.resolve(); // who waited for it finds the new one
  }

  async reached(): Promise<void> {
    for (let found; found !== this.#end;) await (found = this.#end).promise;
  }
}

/** A run that trains. */
class TrainingOfEncoder<Options extends EncoderTrainingOptions> {
  readonly #prepared: PreparedRun<Options>;
  readonly #emit: Emit<EncoderTrainingEvent>;
  readonly #profile: ProfileCollector | undefined;
  readonly #pipeline: TrainingPipeline<Options>;
  readonly #evaluations: Evaluations<Options> | undefined;
  /** Resolves where another rank was stopped, and all have saved. */
  readonly #stopped = Promise.withResolvers<StoppedError>();
  readonly #training: TrainingRun;
  readonly #trained = new PutOffEnd();
  readonly #snapshotClock = new SnapshotClock();
  /** Losses of the steps that were told of; one that is done again is not. */
  readonly #losses: LossEnds;
  #stepsDone = 0;
  #stepsReported: number;
  /** Steps that came, those that are done again too. */
  #stepsCame = 0;
  /** The last step whose statistics were told of. */
  #statsReported = 0;
  #hasSavedLast = false;
  /** Epochs whose end was told of. */
  #epochsEnded: number;
  /** Resolves with the checkpoint that a trainer ends with, or where it goes back to one. */
  #lastSaved = Promise.withResolvers<void>();
  #nextStep = Promise.withResolvers<void>();

  constructor(
    system: ActorSystem,
    prepared: PreparedRun<Options>,
    caches: ImageCaches,
    emit: Emit<EncoderTrainingEvent>,
    signal: AbortSignal | undefined,
    profile: ProfileCollector | undefined,
    ranks: RankSettings | undefined,
  ) {
    this.#prepared = prepared;
    this.#emit = emit;
    this.#profile = profile;
    const { method, options, train, test, evalResize, normalization, start, batchesPerEpoch, totalSteps } =
      prepared;
    const { identity } = prepared;
    this.#stepsReported = prepared.firstStep;
    this.#losses = new LossEnds(batchesPerEpoch, prepared.losses);
    this.#epochsEnded = start.epoch;
    const monitor = listenToActors<TrainerEvent>(system, emit, (event) => this.#take(event));
    this.#training = new TrainingRun({
      output: options.output,
      keep: options.keep,
      resume: options.resume,
      emit,
      signal,
      save: () => this.#save(),
    });
    this.#pipeline = new TrainingPipeline(system, {
      ranks: ranks && { ...ranks, totalSteps, exchange: spawnExchange(system, ranks, options.actors) },
      method,
      options,
      start,
      batchesPerEpoch,
      totalSteps,
      path: train.path,
      rowCount: train.rowCount,
      caches,
      normalization,
      identity,
      monitor,
      onRestart: describeRestart(emit),
      // What a trainer does again after it went back is no progress; the others go on from where it is.
      progress: (goesBack) => goesBack ? this.#stepsReported : this.#stepsCame,
      returnTo: () => this.#returnTo(),
    });
    const { extraSteps } = start;
    const evaluated = {
      method,
      options,
      evalResize,
      normalization,
      train,
      test,
      batchesPerEpoch,
      extraSteps,
    };
    this.#evaluations = Evaluations.spawn(system, { ...evaluated, caches, monitor, emit });
    emit({ type: "actors", actors: system.actors });
  }

  get #endsWithEpoch(): boolean {
    const { totalSteps, batchesPerEpoch, start: { extraSteps = 0 } } = this.#prepared;
    return (totalSteps - extraSteps) % batchesPerEpoch === 0;
  }

  /** Steps of the whole run before a batch. */
  #stepsBefore(position: BatchNumber): number {
    const { batchesPerEpoch, start: { extraSteps } } = this.#prepared;
    return countSteps({ batchesPerEpoch, extraSteps }, position);
  }

  async run(): Promise<EncoderTrainingResult> {
    const { options, test, totalSteps } = this.#prepared;
    const evaluations = this.#evaluations;
    // No batch may come before the weights are copied.
    const untrained = options.resume === null && evaluations !== undefined
      ? this.#pipeline.weights()
      : undefined;
    using held = new DisposableStack();
    const { start } = this.#prepared;
    const lost = await evaluations?.openLostEpochs(this.#prepared, start.epoch, totalSteps, held);
    // Next to training, not before it.
    const before = evaluations && this.#evaluateBeginning(evaluations, untrained, lost);
    before?.catch(() => {}); // awaited below
    await this.#training.untilStopped(async () => {
      await untrained;
      this.#pipeline.begin();
      await this.#trained.reached();
    }, this.#stopped.promise);
    if (!this.#endsWithEpoch) await this.#training.save();

    if (test !== null) {
      const images = test.heldOut === undefined ? "the test images" : "images with held-out labels";
      this.#note(`training finished; classifying ${images} with weighted kNN`);
    }
    const knn = await this.#training.untilAborted(async () => {
      const weights = evaluations && await this.#pipeline.weights(() => this.#trained.reached());
      const first = await before;
      await evaluations?.epochs;
      return knnOf(first, weights && await evaluations.student(totalSteps, weights));
    });
    await this.#measureKernels();
    return {
      steps: this.#stepsDone,
      ...this.#losses.means,
      checkpoint: this.#training.checkpoint!,
      knn,
    };
  }

  async #evaluateBeginning(
    evaluations: Evaluations<Options>,
    untrained: Promise<NamedValues> | undefined,
    lost: readonly LostEpoch[] = [],
  ): Promise<{ teacher?: Accuracy; before?: Accuracy }> {
    const { identity, accuracies, firstStep } = this.#prepared;
    const beginning = evaluations.beginning(identity, accuracies, firstStep, untrained);
    // Asked for now, so that it comes before those of later epochs.
    const [first] = await Promise.all([
      beginning,
      ...lost.map(({ epoch, read }) => evaluations.epoch(epoch, read, beginning)),
    ]);
    return first;
  }

  #note(text: string): void {
    this.#emit({ type: "note", text });
  }

  /** Takes what the actors tell. */
  async #take(event: TrainerEvent): Promise<void> {
    switch (event.type) {
      case "step":
        return this.#takeStep(event);
      case "saved":
        return await this.#takeSaved(event);
      case "views":
        // An augmenter that is started again has a first batch of its own.
        if (this.#stepsReported === this.#prepared.firstStep) this.#emit(event);
        return;
      case "stats":
        // They come before their step, and again where the trainer crashed in between.
        if (!this.#isNew(event) || event.step === this.#statsReported) return;
        this.#statsReported = event.step;
        return void this.#emit(event);
      case "snapshot":
      case "warning":
        return void this.#emit(event);
    }
  }

  /** Whether a step has not been told of; else it is done again, to the same bits. */
  #isNew({ step }: { step: number }): boolean {
    return !this.#training.isOver && step > this.#stepsReported;
  }

  #takeStep(event: Extract<TrainerEvent, { type: "step" }>): void {
    const { options, totalSteps } = this.#prepared;
    if (this.#training.isOver) return;
    this.#stepsCame++;
    if (this.#isNew(event)) {
      this.#stepsReported = event.step;
      this.#nextStep.resolve();
      this.#nextStep = Promise.withResolvers();
      this.#losses.add(event);
      this.#stepsDone++;
      this.#emit(event);
      if (options.insight && this.#snapshotClock.isDue()) this.#pipeline.requestSnapshot();
    }
    if (event.step === totalSteps && !this.#endsWithEpoch) this.#trained.reach();
  }

  async #takeSaved({ epoch, endsEpoch, path, ends, weights }: SavedEvent): Promise<void> {
    const { totalSteps } = this.#prepared;
    const saved = this.#training.saved(path);
    // One of an epoch's end may still be on its way when the last one is asked for.
    if (ends) this.#noteLastSaved();
    await saved;
    if (ends) this.#endWithRanks(path);
    if (!endsEpoch) return;
    const isNew = epoch >= this.#epochsEnded;
    if (isNew) this.#epochsEnded = epoch + 1;
    if (this.#stepsBefore({ epoch: epoch + 1, batch: 0 }) === totalSteps) this.#trained.reach();
    else if (weights !== undefined && isNew) {
      const evaluations = this.#evaluations;
      evaluations?.epoch(epoch, evaluations.isBehind ? path : weights).catch(() => {}); // the system says why
    }
  }

  #noteLastSaved(): void {
    this.#lastSaved.resolve();
    this.#lastSaved = Promise.withResolvers();
  }

  /** Ends where another rank was stopped; where this one was, it ends by itself. */
  #endWithRanks(path: string): void {
    this.#hasSavedLast = true;
    this.#stopped.resolve(new StoppedError(new StoppedByRank(), path));
  }

  /**
   * Has a checkpoint written; nothing where nothing was trained. Between batches that accumulate it comes after the last of them, by
   * itself.
   */
  async #save(): Promise<string | null> {
    if (this.#hasSavedLast) return null;
    const last = this.#lastSaved.promise;
    const isDone = this.#stepsReported === this.#prepared.totalSteps;
    const { path, step, isUntrained } = await this.#pipeline.save(
      isDone ? () => this.#trained.reached() : undefined,
    );
    if (isUntrained) return null;
    if (path === null) await last;
    // Its steps come another way, and may be told of later.
    else while (this.#stepsReported < step) await this.#nextStep.promise;
    return path;
  }

  /** Where a trainer that is started again goes back to. */
  async #returnTo() {
    const { method, options, batchesPerEpoch, totalSteps, identity } = this.#prepared;
    const resume = this.#training.checkpoint ?? options.resume;
    const start = await findStart(method, { ...options, resume }, batchesPerEpoch, identity.terms);
    this.#noteLastSaved();
    if (this.#stepsBefore(start) < totalSteps) this.#trained.putOff();
    // The trainer may have crashed when an epoch's checkpoint had replaced an earlier one of that epoch, and was not told of yet.
    if (start.batch === 0 && start.epoch > this.#epochsEnded) {
      const epoch = start.epoch - 1;
      const weights = isEvaluatedAfter(epoch, options) ? await savedWeights(method, resume!) : undefined;
      await this.#takeSaved({ type: "saved", epoch, endsEpoch: true, path: resume!, ends: false, weights });
    }
    return { resume, start };
  }

  async #measureKernels(): Promise<void> {
    const profile = this.#profile;
    if (profile === undefined) return;
    this.#note("timing every kernel");
    await this.#training.untilAborted(async () => {
      for (const [name, profiles] of await this.#pipeline.profile()) profile.add(name, profiles);
    });
  }
}

/** The end of a run that was killed after its last step: what is left of it is to be evaluated. */
async function finishRun<Options extends EncoderTrainingOptions>(
  system: ActorSystem,
  prepared: PreparedRun<Options>,
  caches: ImageCaches,
  emit: Emit<EncoderTrainingEvent>,
  signal: AbortSignal | undefined,
): Promise<EncoderTrainingResult> {
  const { method, options, firstStep, totalSteps, identity, accuracies, losses, batchesPerEpoch } = prepared;
  emit({ type: "note", text: `all ${totalSteps} steps are done; finishing the run` });
  const checkpoint = options.resume!;
  const monitor = listenToActors(system, emit);
  const { extraSteps } = prepared.start;
  const evaluations = Evaluations.spawn(system, { ...prepared, extraSteps, caches, monitor, emit });
  emit({ type: "actors", actors: system.actors });
  const training = new TrainingRun({
    output: options.output,
    resume: checkpoint,
    emit,
    signal,
    save: () => Promise.resolve(null),
  });
  using held = new DisposableStack();
  const knn = await training.untilAborted(async () => {
    if (evaluations === undefined) return null;
    const lost = await evaluations.openLostEpochs(prepared, prepared.start.epoch, totalSteps, held);
    const first = await evaluations.beginning(identity, accuracies, firstStep, undefined);
    for (const { epoch, read } of lost) await evaluations.epoch(epoch, read);
    const known = accuracies.find(({ of, step }) => of === "student" && step === totalSteps);
    return knnOf(
      first,
      await evaluations.student(totalSteps, await savedWeights(method, checkpoint), { known }),
    );
  });
  return { steps: 0, ...new LossEnds(batchesPerEpoch, losses).means, checkpoint, knn };
}

/** The accuracies that a run ends with; `null` if there was nothing to evaluate on. */
function knnOf(
  { teacher, before = null }: { teacher?: Accuracy; before?: Accuracy | null } = {},
  after: Accuracy | undefined,
): EncoderTrainingResult["knn"] {
  if (after === undefined) return null;
  return {
    ...teacher && { teacher: accuracyOf(teacher) },
    before: before && accuracyOf(before),
    after: accuracyOf(after),
  };
}

/** Without what a record says beside it. */
function accuracyOf({ top1, top5 }: Accuracy): Accuracy {
  return { top1, top5 };
}
