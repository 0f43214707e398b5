/**
 * A linear evaluation (the original's main_lincls.py; MoCo's protocol): a linear classifier is trained on the features of a
 * frozen encoder, and classifies other images after every epoch.
 *
 *     train_reader x workers -> train_augmenter -> feature_encoder -> linear_trainer
 *     test_reader x workers -> test_augmenter -> feature_encoder
 */
import { countSteps } from "../../actors/batch_number.ts";
import type { Emit } from "../../actors/events.ts";
import type { ImageCaches } from "../../actors/image_caches.ts";
import { listenToActors, withWarningsOnce } from "../../actors/notices.ts";
import { PATIENCE } from "../../actors/pipeline.ts";
import type { RankSettings } from "../../actors/ranks/ranks.ts";
import { spawnPeers } from "../../actors/ranks/spawn_exchange.ts";
import type { ActorSystem } from "../../actors/runtime/mod.ts";
import { beforeTraining, throwIfStopped } from "../../actors/training_run.ts";
import { batchScale, linearLearningRate } from "../../models/optim/schedule.ts";
import { findEncoder } from "../../models/registry.ts";
import { checkSettings } from "../check_settings.ts";
import { type LabelledData, openCaches } from "../labelled_data.ts";
import { LabelledRun, planOf } from "../labelled_run.ts";
import { UserError } from "../../errors.ts";
import { setAsideAbandoned } from "../output_folder.ts";
import { CANNOT_GO_BACK, earlySignal, requireEqualShares } from "../rank_shares.ts";
import { ReadingProgress } from "../reading_progress.ts";
import { openSystem } from "../watched_actors.ts";
import { Divergence, warnOfLargeLoss } from "./divergence.ts";
import type { LinearActorEvent, LinearEvent } from "./events.ts";
import { linearCheckpointName } from "./linear_trainer.ts";
import type { LinearTrainer, ProbeScore } from "./messages.ts";
import { adviseRates, type LinearOptions } from "./options.ts";
import { spawnLinearPipeline, TEST, TRAIN } from "./pipeline.ts";
import {
  findStart,
  type LinearStart,
  type PreparedEvaluation,
  prepareEvaluation,
  type ResolvedOptions,
} from "./prepare.ts";

/** Scores of one learning rate. */
export interface LinearScore {
  /** Learning rate as given, before scaling. */
  lr: number;
  /** Score on the test images after the last epoch; a loss of NaN where it has diverged. */
  last: ProbeScore;
  /** Best top-1 on the test images after any epoch before it diverged, in percent; -1 if there is none. */
  best: number;
  /** Whether one of its losses was not finite; it is then never the best. */
  diverged: boolean;
}

/** Result of a linear evaluation. */
export interface LinearResult {
  /** Scores, in the order of the learning rates. */
  scores: readonly LinearScore[];
  /**
   * Index of the best score. Where the run only evaluates, of the learning rate that the checkpoint chose, or else of the one
   * with the highest best top-1 in the checkpoint.
   */
  chosen: number;
  /** Whether the run only evaluates, and the checkpoint says that it chose that learning rate. */
  isCheckpointChoice: boolean;
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
 * Several ranks share every batch: the step is that of the whole batch. The first one writes the files. A crash ends all.
 *
 * @param isUnfinished whether the evaluation that `resume` goes on with has not come to its end: where only that is missing,
 * the test images are classified by what was trained
 * @param ranks the part of this process, where several share the images
 * @throws {StoppedError} after an abort, with that checkpoint
 * @throws {NothingToDoError} where all epochs are done, and it is not unfinished
 * @throws {UserError} for data and checkpoints that do not fit the options, and where every learning rate diverges; a
 * checkpoint of the last whole epoch is saved then too
 * @throws {ActorCrash} when actors fail again and again; all have been stopped then
 */
export async function runLinearEvaluation(
  options: LinearOptions,
  emit: Emit<LinearEvent> = () => {},
  signal?: AbortSignal,
  isUnfinished = false,
  ranks?: RankSettings,
): Promise<LinearResult> {
  if (ranks !== undefined) requireEqualShares(options.batchSize, ranks);
  emit = withWarningsOnce(emit);
  const early = earlySignal(signal, ranks);
  const prepared = await beforeTraining(
    early,
    options.resume,
    () => prepareEvaluation(options, emit, isUnfinished, early),
  );
  const isReadOnce = options.evaluate || options.cacheFeatures;
  using caches = await openCaches(prepared.options, prepared.data, isReadOnce, emit, ranks);
  throwIfStopped(early, options.resume);
  if (!options.evaluate && (ranks?.rank ?? 0) === 0) {
    const { epoch } = prepared.start;
    const last = { name: linearCheckpointName(0), epoch: epoch - 1, epochsDone: epoch };
    await setAsideAbandoned(options, last, emit);
  }
  const system = openSystem(options.plugins, emit);
  return await system.run(() => new LinearEvaluation(system, prepared, caches, emit, signal, ranks).run());
}

/** Of a learning rate that has diverged. */
const DIVERGED: ProbeScore = { loss: NaN, top1: 0, top5: 0 };

/** A linear evaluation under way. */
class LinearEvaluation {
  readonly #options: ResolvedOptions;
  readonly #emit: Emit<LinearEvent>;
  readonly #run: LabelledRun<LinearTrainer>;
  readonly #data: LabelledData;
  readonly #ranks: RankSettings | undefined;
  /** What is read besides training. */
  #reading: ReadingProgress | undefined;
  readonly #classes: number;
  readonly #batchesPerEpoch: number;
  /** Whether all epochs were done before: only the test images are to be classified. */
  readonly #isTrained: boolean;
  /** Whether what is saved now is where the run ends. */
  #isEnding = false;
  /** Resolves where every learning rate has diverged. */
  readonly #over = Promise.withResolvers<Error>();
  /** What was told of. */
  readonly #told = { step: 0, epoch: -1 };
  /** Where this attempt began; after a crash, the newest checkpoint. */
  #start: LinearStart;
  #divergence: Divergence;
  #best: number[];
  /** Index of the best learning rate: of several that are equal, the one that was the best first. */
  #chosen: number;
  #last: ProbeScore[] = [];
  /** Epochs of the test images that were read in this attempt. */
  #tests = 0;

  constructor(
    system: ActorSystem,
    prepared: PreparedEvaluation,
    caches: ImageCaches,
    emit: Emit<LinearEvent>,
    signal: AbortSignal | undefined,
    ranks: RankSettings | undefined,
  ) {
    this.#ranks = ranks;
    const { options, data, classes, start } = prepared;
    this.#options = options;
    this.#data = data;
    this.#classes = classes;
    this.#emit = emit;
    this.#start = start;
    this.#best = this.#bestBefore();
    this.#chosen = start.chosen;
    this.#divergence = this.#watchDivergence();
    const { epochs, evaluate, output, resume } = options;
    const { trainImages: images } = data;
    const batchesPerEpoch = this.#batchesPerEpoch = prepared.batchesPerEpoch;
    const { extraSteps } = start;
    this.#isTrained = !evaluate && start.epoch >= epochs;
    if (this.#isTrained) this.#note(`all ${start.epoch} epochs are done; finishing the run`);
    const settings = { ...options, learningRates: options.lr, scale: this.#scale };
    const rates = resume === null ? adviseRates(findEncoder(options.arch), options) : undefined;
    const checked = checkSettings(settings, { images, batchesPerEpoch });
    const notes = evaluate ? [] : rates === undefined ? checked : [rates, ...checked];
    const plan = planOf(prepared, { batchesPerEpoch, extraSteps, firstEpoch: start.epoch, caches, notes });
    emit({ type: "plan", ...plan });
    const peers = spawnPeers(system, ranks, options.actors);
    this.#run = new LabelledRun<LinearTrainer>(system, {
      output,
      resume,
      emit,
      signal,
      ranks,
      save: (how) => this.#save(how),
      goBack: () => this.#goBack(),
      progress: () => this.#told.step,
      spawn: (supervisor, resume) =>
        spawnLinearPipeline(supervisor, {
          ...prepared,
          features: plan.features,
          trains: !evaluate && !this.#isTrained,
          caches,
          peers,
          monitor: listenToActors<LinearActorEvent>(system, emit, (event) => this.#take(event)),
          start: () => {
            const { epoch, extraSteps } = this.#start;
            return { epoch, extraSteps, resume: resume() };
          },
        }),
    });
  }

  async run(): Promise<LinearResult> {
    const { lr, evaluate } = this.#options;
    await this.#run.do(() => this.#work(), this.#over.promise);
    const diverged = [...this.#divergence.diverged];
    const scores = lr.map((rate, i) => ({
      lr: rate,
      last: this.#last[i],
      best: this.#best[i],
      diverged: diverged[i],
    }));
    const chosen = this.#choose();
    warnOfLargeLoss(scores[chosen], this.#classes, this.#emit);
    const checkpoint = this.#run.training.checkpoint ?? (this.#isTrained ? this.#options.resume : null);
    const isCheckpointChoice = evaluate && this.#start.isCheckpointChoice && chosen === this.#start.chosen;
    return { scores, chosen, isCheckpointChoice, checkpoint };
  }

  #note(text: string): void {
    this.#emit({ type: "note", text });
  }

  /** All actors begin again where the newest checkpoint left off. */
  async #goBack(): Promise<void> {
    if (this.#ranks !== undefined) throw new UserError(CANNOT_GO_BACK);
    this.#start = await findStart({ ...this.#options, resume: this.#run.resume }, this.#batchesPerEpoch);
    this.#best = this.#bestBefore();
    this.#chosen = this.#start.chosen;
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
    // The other ranks have as much to do.
    if (event.type === "came") return this.#reading?.add(event.images * (this.#ranks?.size ?? 1));
    if (event.type !== "batch" || this.#run.training.isOver) return;
    const { epoch, batch, scores, learningRates } = event;
    const count = { batchesPerEpoch: this.#batchesPerEpoch, extraSteps: this.#start.extraSteps };
    const step = countSteps(count, { epoch, batch }) + 1;
    this.#divergence.look(scores, learningRates, `epoch ${epoch}, batch ${batch}`);
    if (step <= this.#told.step) return; // done once more, after a crash
    this.#told.step = step;
    const shown = Math.max(0, this.#divergence.diverged.indexOf(false));
    this.#emit({ type: "step", epoch, step, score: scores[shown], lr: learningRates[shown] });
  }

  #tellEpoch(event: Extract<LinearEvent, { type: "epoch" }>): void {
    if (event.epoch <= this.#told.epoch) return;
    this.#told.epoch = event.epoch;
    this.#emit(event);
  }

  /** Best top-1 on the test images before this start. Those of an evaluation may be others than the run's. */
  #bestBefore(): number[] {
    const { best } = this.#start;
    return this.#options.evaluate ? best.map(() => -1) : [...best];
  }

  /**
   * What the best is found by: the best on the images that an evaluation classifies would be chosen by them, so that is the
   * checkpoint's. What has diverged is worse than any.
   */
  #standings(): number[] {
    const best = this.#options.evaluate ? this.#start.best : this.#best;
    return best.map((top1, i) => this.#divergence.diverged[i] ? -Infinity : top1);
  }

  /** The best learning rate's index, once more. An evaluation keeps that of the checkpoint, unless it has diverged. */
  #choose(): number {
    const standings = this.#standings();
    const best = Math.max(...standings);
    const isKept = this.#options.evaluate && !this.#divergence.diverged[this.#chosen];
    if (!isKept && standings[this.#chosen] < best) this.#chosen = standings.indexOf(best);
    return this.#chosen;
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
    const total = source === TRAIN ? trainImages : test.rowCount;
    this.#reading = purpose === "train" ? undefined : new ReadingProgress({ phase, total }, this.#emit);
    const { pipeline } = this.#run;
    // Not the one after a crash, which would wait for images that it does not get.
    const trainer = this.#run.trainer.ref;
    // Of several ranks one may have none that can be used.
    const images = this.#ranks === undefined
      ? await pipeline.readAll(source, { epoch })
      : await pipeline.read(source, { epoch });
    const scores = await trainer.ask("finish", { purpose, images }, PATIENCE);
    this.#reading?.end();
    return scores;
  }

  /** Classifies the test images. */
  async #test(): Promise<ProbeScore[]> {
    const { cacheFeatures, evaluate } = this.#options;
    return cacheFeatures && !evaluate
      ? await this.#run.trainer.ref.ask("evaluateKept", undefined, PATIENCE)
      : await this.#read(TEST, this.#tests++, "queries");
  }

  #raiseBest(): void {
    for (const [i, { top1 }] of this.#last.entries()) {
      if (!this.#divergence.diverged[i]) this.#best[i] = Math.max(this.#best[i], top1);
    }
  }

  /** Scores without those of what has diverged: its weights are not saved, and a resumed run has others. */
  #ofSound(scores: readonly ProbeScore[]): ProbeScore[] {
    return scores.map((score, i) => this.#divergence.diverged[i] ? DIVERGED : score);
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
    this.#choose();
    await this.#run.trainEpochs(this.#start.epoch, epochs, (epoch) => this.#trainEpoch(epoch));
  }

  /** Classifies the test images by classifiers that are there. */
  async #onlyEvaluate(): Promise<void> {
    const { lr, cacheFeatures, evaluate } = this.#options;
    if (this.#isTrained && cacheFeatures) await this.#read(TEST, 0, "queries");
    this.#last = await this.#test();
    const epoch = this.#start.epoch - 1; // the checkpoint's last one, not the next one
    const learningRates = this.#isTrained ? this.#ratesOf(epoch) : [];
    this.#divergence.look(this.#last, this.#isTrained ? learningRates : lr, "the test images");
    this.#last = this.#ofSound(this.#last);
    const { diverged } = this.#divergence;
    this.#raiseBest();
    const [tested, chosen] = [this.#last, this.#choose()];
    if (evaluate && chosen !== this.#start.chosen) {
      this.#note(
        `the result is that of learning rate ${
          lr[chosen]
        }, whose best top-1 in the checkpoint is the highest of the others`,
      );
    }
    this.#tellEpoch({ type: "epoch", epoch, learningRates, trained: [], tested, diverged, chosen });
    await this.#endIfOver();
  }

  /** Trains an epoch, and classifies the test images. */
  async #trainEpoch(epoch: number): Promise<void> {
    const trainer = this.#run.trainer.ref;
    const learningRates = this.#ratesOf(epoch);
    const train = async () => {
      await trainer.tell("begin", { learningRates });
      return await this.#read(TRAIN, epoch, "train");
    };
    const scores = this.#options.cacheFeatures
      ? await trainer.ask("trainOnKept", { epoch, learningRates }, PATIENCE)
      : await train();
    this.#last = await this.#test();
    this.#divergence.look(this.#last, learningRates, `the test after epoch ${epoch}`);
    this.#last = this.#ofSound(this.#last);
    const trained = this.#ofSound(scores);
    await this.#endIfOver();
    const diverged = [...this.#divergence.diverged];
    this.#raiseBest();
    const tested = this.#last.map(({ top1 }) => top1);
    // One that has diverged is not the best any more, whatever it once was.
    const chosen = this.#choose();
    const progress = { epoch: epoch + 1, best: [...this.#best], diverged, tested, probe: chosen };
    await trainer.ask("note", progress, PATIENCE);
    this.#tellEpoch({ type: "epoch", epoch, learningRates, trained, tested: this.#last, diverged, chosen });
  }

  /** Goes no further where every learning rate has diverged, or the run was stopped: it ends by that, without this epoch. */
  async #endIfOver(): Promise<void> {
    if (this.#divergence.isOver || this.#isEnding) await new Promise<never>(() => {});
  }

  /** Has a checkpoint of the last whole epoch written; nothing where none was trained. */
  async #save({ ends }: { ends: boolean }): Promise<string | null> {
    this.#isEnding ||= ends;
    if (this.#options.evaluate || this.#isTrained || (this.#ranks?.rank ?? 0) > 0) return null;
    return (await this.#run.trainer.ref.ask("save", undefined, PATIENCE)).path;
  }
}
