/**
 * A linear evaluation (the original's main_lincls.py; MoCo's protocol): a linear classifier is trained on the features of a
 * frozen encoder, and classifies other images after every epoch.
 *
 *     train_reader x workers -> train_augmenter -> feature_encoder -> linear_trainer
 *     test_reader x workers -> test_augmenter -> feature_encoder
 */
import { checkSameClasses, withMaxPixels } from "../../actors/data_facts.ts";
import { resolveEvaluationResize } from "../../actors/evaluation_resize.ts";
import type { Emit, ProgressEvent } from "../../actors/events.ts";
import type { ImageCaches } from "../../actors/image_caches.ts";
import { openSystem } from "../watched_actors.ts";
import { describeRestart, listenToActors, withWarningsOnce } from "../../actors/notices.ts";
import { PATIENCE, type Pipeline } from "../../actors/pipeline.ts";
import type { ActorSystem, Supervised, Supervisor } from "../../actors/runtime/mod.ts";
import { TrainingRun } from "../../actors/training_run.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { batchScale, linearLearningRate } from "../../models/optim/schedule.ts";
import { findEncoder } from "../../models/registry.ts";
import { checkSettings } from "../check_settings.ts";
import { findLabelledData, type LabelledData, openCaches } from "../labelled_data.ts";
import { Divergence, warnOfLargeLoss } from "./divergence.ts";
import type { LinearActorEvent, LinearEvent } from "./events.ts";
import type { LinearTrainer, ProbeScore } from "./messages.ts";
import type { LinearOptions } from "./options.ts";
import { SECONDS_BETWEEN_CHECKPOINTS, spawnLinearPipeline, TEST, TRAIN } from "./pipeline.ts";
import {
  checkWhetherDone,
  compareWithCheckpoint,
  findStart,
  findTerms,
  type LinearStart,
  type ResolvedOptions,
} from "./prepare.ts";

/** Scores of one learning rate. */
export interface LinearScore {
  /** Learning rate as given, before scaling. */
  lr: number;
  /** Score on the test images after the last epoch. */
  last: ProbeScore;
  /** Best top-1 on the test images after any epoch, in percent. */
  best: number;
  /** Whether one of its losses was not finite; it is then never the best. */
  diverged: boolean;
}

/** Result of a linear evaluation. */
export interface LinearResult {
  /** Scores, in the order of the learning rates. */
  scores: readonly LinearScore[];
  /** Index of the best score. */
  chosen: number;
  /** Path of the last checkpoint; `null` if the run only evaluates. */
  checkpoint: string | null;
}

/**
 * Runs a linear evaluation to its end. An abort of `signal` saves a checkpoint of the last whole epoch; no step is told of
 * after that.
 *
 * When an actor crashes, all are started again, and the evaluation goes on from its newest checkpoint; what it does once
 * more is not told of again.
 *
 * @param isUnfinished whether the evaluation that `resume` goes on with has not come to its end: where only that is missing,
 * the test images are classified by what was trained
 * @throws {StoppedError} after an abort, with that checkpoint
 * @throws {NothingToDoError} where all epochs are done, and it is not unfinished
 * @throws {UserError} for data and checkpoints that do not fit the options, and where every learning rate diverges; a
 * checkpoint of the last whole epoch is saved then too
 * @throws {ActorCrash} when actors fail again and again; all have been stopped then
 */
export async function runLinearEvaluation(
  given: LinearOptions,
  emit: Emit<LinearEvent> = () => {},
  signal?: AbortSignal,
  isUnfinished = false,
): Promise<LinearResult> {
  const evalResize = await resolveEvaluationResize(given.evalResize, given.data, given.imageSize);
  const options: ResolvedOptions = await withMaxPixels({ ...given, evalResize });
  emit = withWarningsOnce(emit);
  const data = await findLabelledData(options, emit);
  checkSameClasses(data.train, data.test);
  const start = await findStart(options);
  checkWhetherDone(options, start, isUnfinished);
  const terms = await findTerms(options, data);
  if (options.resume !== null) await compareWithCheckpoint(options, terms, emit);
  using caches = await openCaches(options, data, options.evaluate || options.cacheFeatures, emit);
  const system = openSystem(options.plugins, emit);
  return await system.run(() =>
    new LinearEvaluation(system, { options, data, terms, start, caches }, emit, signal).run()
  );
}

/** A linear evaluation that can begin. */
interface PreparedEvaluation {
  options: ResolvedOptions;
  data: LabelledData;
  terms: readonly Term[];
  start: LinearStart;
  caches: ImageCaches;
}

/** A linear evaluation under way. */
class LinearEvaluation {
  readonly #options: ResolvedOptions;
  readonly #emit: Emit<LinearEvent>;
  readonly #system: ActorSystem;
  readonly #supervisor: Supervisor;
  readonly #trainer: Supervised<LinearTrainer>;
  readonly #pipeline: Pipeline;
  readonly #training: TrainingRun;
  readonly #data: LabelledData;
  /** What is read besides training. */
  #reading: Pick<ProgressEvent, "phase" | "done" | "total"> = { phase: "features", done: 0, total: 0 };
  readonly #classes: number;
  readonly #batchesPerEpoch: number;
  /** Whether all epochs were done before: only the test images are to be classified. */
  readonly #isTrained: boolean;
  /** Resolves where every learning rate has diverged. */
  readonly #over = Promise.withResolvers<Error>();
  /** What was told of. */
  readonly #told = { step: 0, epoch: -1 };
  /** Where this attempt began; after a crash, the newest checkpoint. */
  #start: LinearStart;
  #divergence: Divergence;
  #best: number[];
  #last: ProbeScore[] = [];
  /** Epochs of the test images that were read in this attempt. */
  #tests = 0;

  constructor(
    system: ActorSystem,
    { options, data, terms, start, caches }: PreparedEvaluation,
    emit: Emit<LinearEvent>,
    signal: AbortSignal | undefined,
  ) {
    const { train, test, rows, trainImages } = this.#data = data;
    this.#system = system;
    this.#options = options;
    this.#emit = emit;
    this.#start = start;
    this.#best = [...start.best];
    this.#divergence = this.#watchDivergence();
    const { features } = findEncoder(options.arch);
    const { batchSize, epochs, evaluate } = options;
    this.#classes = options.classes ?? Math.max(train.classes, test.classes);
    this.#batchesPerEpoch = Math.ceil(trainImages / batchSize);
    this.#isTrained = !evaluate && start.epoch >= epochs;
    if (this.#isTrained) this.#note(`all ${start.epoch} epochs are done; finishing the run`);
    emit({
      type: "plan",
      trainImages,
      ...rows && { rows: [...rows] },
      testImages: test.rowCount,
      classes: this.#classes,
      features,
      batchesPerEpoch: this.#batchesPerEpoch,
      firstEpoch: start.epoch,
      evalResize: options.evalResize,
      cache: caches.description,
      notes: evaluate ? [] : checkSettings(
        { ...options, learningRates: options.lr, scale: this.#scale },
        { images: trainImages, batchesPerEpoch: this.#batchesPerEpoch },
      ),
    });
    this.#training = new TrainingRun({
      output: options.output,
      resume: options.resume,
      emit,
      signal,
      save: () => this.#save(),
    });
    const tellRestart = describeRestart(emit);
    this.#supervisor = system.supervise({
      strategy: "one-for-all",
      prepare: async (restart) => {
        tellRestart(restart);
        await this.#goBack();
      },
      resume: () => this.#connect(),
    });
    ({ trainer: this.#trainer, pipeline: this.#pipeline } = spawnLinearPipeline(this.#supervisor, {
      options,
      features,
      classes: this.#classes,
      terms,
      rows,
      trains: !evaluate && !this.#isTrained,
      caches,
      monitor: listenToActors<LinearActorEvent>(system, emit, (event) => this.#take(event)),
      start: () => ({ epoch: this.#start.epoch, resume: this.#resume }),
    }));
  }

  /** The checkpoint that this attempt goes on with. */
  get #resume(): string | null {
    return this.#training.checkpoint ?? this.#options.resume;
  }

  async run(): Promise<LinearResult> {
    const { lr } = this.#options;
    await this.#training.untilStopped(async () => {
      await this.#connect();
      await this.#supervisor.retry(() => this.#work());
    }, this.#over.promise);
    const diverged = [...this.#divergence.diverged];
    const scores = lr.map((rate, i) => ({
      lr: rate,
      last: this.#last[i],
      best: this.#best[i],
      diverged: diverged[i],
    }));
    const chosen = this.#chosen();
    warnOfLargeLoss(scores[chosen], this.#classes, this.#emit);
    const checkpoint = this.#training.checkpoint ?? (this.#isTrained ? this.#options.resume : null);
    return { scores, chosen, checkpoint };
  }

  #note(text: string): void {
    this.#emit({ type: "note", text });
  }

  async #connect(): Promise<void> {
    this.#emit({ type: "actors", actors: this.#system.actors });
    await this.#pipeline.connect(this.#trainer.ref);
  }

  /** All actors begin again where the newest checkpoint left off. */
  async #goBack(): Promise<void> {
    this.#start = await findStart({ ...this.#options, resume: this.#resume });
    this.#best = [...this.#start.best];
    this.#divergence = this.#watchDivergence();
    this.#tests = 0;
  }

  #watchDivergence(): Divergence {
    const divergence = new Divergence(this.#options.lr, this.#start.diverged, this.#emit);
    divergence.over.then(this.#over.resolve);
    return divergence;
  }

  /** Takes what the actors tell. */
  #take(event: LinearActorEvent): void {
    if (event.type === "warning") this.#emit(event);
    if (event.type === "came") return this.#tellProgress(event.images);
    if (event.type !== "batch" || this.#training.isOver) return;
    const { epoch, batch, scores, learningRates } = event;
    const step = epoch * this.#batchesPerEpoch + batch + 1;
    this.#divergence.look(scores, learningRates, `epoch ${epoch}, batch ${batch}`);
    if (step <= this.#told.step) return; // done once more, after a crash
    this.#told.step = step;
    const shown = Math.max(0, this.#divergence.diverged.indexOf(false));
    this.#emit({ type: "step", epoch, step, score: scores[shown], lr: learningRates[shown] });
  }

  /** So many images more of what is read besides training. */
  #tellProgress(images: number): void {
    const { phase, total } = this.#reading;
    const done = Math.min(this.#reading.done += images, total);
    this.#emit({ type: "progress", phase, done, total });
  }

  #tellEpoch(event: Extract<LinearEvent, { type: "epoch" }>): void {
    if (event.epoch <= this.#told.epoch) return;
    this.#told.epoch = event.epoch;
    this.#emit(event);
  }

  /** What has diverged is worse than any. */
  #ranks(): number[] {
    return this.#best.map((top1, i) => this.#divergence.diverged[i] ? -Infinity : top1);
  }

  /** The best learning rate's index. */
  #chosen(): number {
    const ranks = this.#ranks();
    return ranks.indexOf(Math.max(...ranks));
  }

  /** What the learning rates are multiplied by after the warm-up. */
  get #scale(): number {
    const { scaleLr, batchSize } = this.#options;
    return scaleLr ? batchScale(batchSize) : 1;
  }

  /** Of an epoch, for each learning rate. */
  #ratesOf(epoch: number): number[] {
    const { lr, warmupEpochs, schedule: milestones } = this.#options;
    const scale = this.#scale;
    return lr.map((rate) => linearLearningRate(epoch, { lr: rate, scale, warmupEpochs, milestones }));
  }

  /** Has an epoch of a source read, and waits until the trainer has consumed all of it. */
  async #read(source: string, epoch: number, purpose: "train" | "bank" | "queries"): Promise<ProbeScore[]> {
    const { cacheFeatures, evaluate } = this.#options;
    const { trainImages, test } = this.#data;
    const phase = cacheFeatures && !evaluate ? "features" : "evaluation";
    this.#reading = { phase, done: 0, total: source === TRAIN ? trainImages : test.rowCount };
    const images = await this.#pipeline.readAll(source, { epoch });
    return await this.#trainer.ref.ask("finish", { purpose, images }, PATIENCE);
  }

  /** Classifies the test images. */
  async #test(): Promise<ProbeScore[]> {
    const { cacheFeatures, evaluate } = this.#options;
    return cacheFeatures && !evaluate
      ? await this.#trainer.ref.ask("evaluateKept", undefined, PATIENCE)
      : await this.#read(TEST, this.#tests++, "queries");
  }

  #raiseBest(): void {
    for (const [i, { top1 }] of this.#last.entries()) this.#best[i] = Math.max(this.#best[i], top1);
  }

  /** All of it from where the actors are, or until the first crash. */
  async #work(): Promise<void> {
    const { epochs, evaluate, cacheFeatures } = this.#options;
    if (evaluate || this.#isTrained) return await this.#onlyEvaluate();
    if (cacheFeatures) {
      this.#note("embedding the images once; every epoch trains on these features");
      await this.#read(TRAIN, 0, "bank");
      await this.#read(TEST, 0, "queries");
    }
    let savedAt = performance.now();
    let bestProbe = this.#chosen();
    for (let epoch = this.#start.epoch; epoch < epochs; epoch++) {
      bestProbe = await this.#trainEpoch(epoch, bestProbe);
      const isDue = performance.now() - savedAt >= 1000 * SECONDS_BETWEEN_CHECKPOINTS;
      if (epoch < epochs - 1 && !isDue) continue;
      await this.#training.save();
      savedAt = performance.now();
    }
  }

  /** Classifies the test images by classifiers that are there. */
  async #onlyEvaluate(): Promise<void> {
    const { lr, cacheFeatures } = this.#options;
    if (this.#isTrained && cacheFeatures) await this.#read(TEST, 0, "queries");
    this.#last = await this.#test();
    const epoch = this.#start.epoch - 1; // the checkpoint's last one, not the next one
    const learningRates = this.#isTrained ? this.#ratesOf(epoch) : lr;
    this.#divergence.look(this.#last, learningRates, "the test images");
    const { diverged } = this.#divergence;
    this.#tellEpoch({ type: "epoch", epoch, learningRates, trained: [], tested: this.#last, diverged });
    this.#raiseBest();
    await this.#endIfOver();
  }

  /** Trains an epoch, and classifies the test images. @returns the best probe */
  async #trainEpoch(epoch: number, bestBefore: number): Promise<number> {
    const trainer = this.#trainer.ref;
    const learningRates = this.#ratesOf(epoch);
    const train = async () => {
      await trainer.tell("begin", { learningRates });
      return await this.#read(TRAIN, epoch, "train");
    };
    const trained = this.#options.cacheFeatures
      ? await trainer.ask("trainOnKept", { epoch, learningRates }, PATIENCE)
      : await train();
    this.#last = await this.#test();
    this.#divergence.look(this.#last, learningRates, `the test after epoch ${epoch}`);
    await this.#endIfOver();
    const diverged = [...this.#divergence.diverged];
    const before = Math.max(...this.#ranks());
    this.#raiseBest();
    const probe = this.#chosen();
    // One that has diverged is not the best any more, whatever it once was.
    const isBest = Math.max(...this.#ranks()) > before || diverged[bestBefore];
    const progress = { epoch: epoch + 1, best: [...this.#best], diverged, probe, isBest };
    await trainer.ask("note", progress, PATIENCE);
    this.#tellEpoch({ type: "epoch", epoch, learningRates, trained, tested: this.#last, diverged });
    return probe;
  }

  /** Goes no further where every learning rate has diverged: the run ends by that. */
  async #endIfOver(): Promise<void> {
    if (this.#divergence.isOver) await new Promise<never>(() => {});
  }

  /** Has a checkpoint of the last whole epoch written; nothing where none was trained. */
  async #save(): Promise<string | null> {
    if (this.#options.evaluate || this.#isTrained) return null;
    return (await this.#trainer.ref.ask("save", undefined, PATIENCE)).path;
  }
}
