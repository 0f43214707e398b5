/**
 * A fine-tuning (SwAV's `eval_semisup.py`): the whole encoder and a classifier on it are trained on labelled images, and
 * classify other images after every epoch.
 *
 *     train_reader x workers -> train_augmenter -> finetune_trainer
 *     test_reader x workers -> test_augmenter -> finetune_trainer
 */
import { countSteps } from "../../actors/batch_number.ts";
import type { Emit } from "../../actors/events.ts";
import { listenToActors, withWarningsOnce } from "../../actors/notices.ts";
import type { ImageCaches } from "../../actors/image_caches.ts";
import { PATIENCE, type ReadingRange } from "../../actors/pipeline.ts";
import type { ProfileCollector } from "../../actors/run_profile.ts";
import { type RankSettings, StoppedByRank } from "../../actors/ranks/ranks.ts";
import { spawnExchange } from "../../actors/ranks/spawn_exchange.ts";
import type { ActorSystem } from "../../actors/runtime/mod.ts";
import { beforeTraining, throwIfStopped } from "../../actors/training_run.ts";
import { StoppedError } from "../../actors/stopped_error.ts";
import { UserError } from "../../errors.ts";
import { readBest } from "../../models/checkpoint/run_checkpoints.ts";
import { checkSettings } from "../check_settings.ts";
import type { ClassificationScore } from "../classification.ts";
import { openCaches } from "../labelled_data.ts";
import { LabelledRun, planOf } from "../labelled_run.ts";
import { TEST, TRAIN } from "../linear_probe/pipeline.ts";
import { readFinetuneCheckpoint } from "./checkpoint.ts";
import type { FinetuneActorEvent, FinetuneEvent } from "./events.ts";
import { finetuneCheckpointName } from "./finetune_trainer.ts";
import type { OutputSettings } from "../method.ts";
import { isIn, setAsideAbandoned } from "../output_folder.ts";
import { CANNOT_GO_BACK, earlySignal, requireEqualShares } from "../rank_shares.ts";
import { ReadingProgress } from "../reading_progress.ts";
import { runActors, type Wanted } from "../watched_actors.ts";
import type { FinetuneTrainer } from "./messages.ts";
import { batchBefore, type FinetuneOptions, learningRatesOf, scaleOf } from "./options.ts";
import { spawnFinetunePipeline } from "./pipeline.ts";
import { findStart, type FinetuneStart, type PreparedFinetune, prepareFinetune } from "./prepare.ts";

/** What came of a fine-tuning. */
export interface FinetuneResult {
  /** On the test images after the last epoch. */
  last: ClassificationScore;
  /** Best top-1 on the test images after any epoch, in percent. */
  best: number;
  /** The last checkpoint; `null` where the run only evaluates. */
  checkpoint: string | null;
}

/**
 * Runs a fine-tuning to its end, as `runLinearEvaluation` does; but an abort of `signal` saves a checkpoint of where training
 * is, within an epoch too.
 *
 * Several ranks share every batch, and the test images; the first one writes the files. An abort of one ends all, when they meet next:
 * after a step, or after a test. A crash ends all.
 *
 * @throws {UserError} for data and checkpoints that do not fit the options, and where training diverges
 */
export async function runFinetune(
  options: FinetuneOptions,
  emit: Emit<FinetuneEvent> = () => {},
  signal?: AbortSignal,
  isUnfinished = false,
  { ranks, ...wanted }: Wanted & Pick<OutputSettings, "ranks"> = {},
): Promise<FinetuneResult> {
  if (ranks !== undefined) requireEqualShares(options.batchSize, ranks);
  emit = withWarningsOnce(emit);
  const early = earlySignal(signal, ranks);
  const prepared = await beforeTraining(
    early,
    options.resume,
    () => prepareFinetune(options, emit, isUnfinished, early),
  );
  using caches = await openCaches(prepared.options, prepared.data, options.evaluate, emit, ranks);
  throwIfStopped(early, options.resume);
  if (!options.evaluate && (ranks?.rank ?? 0) === 0) {
    const { epoch, batch } = prepared.start;
    const last = {
      name: finetuneCheckpointName(0),
      epoch: batch === 0 ? epoch - 1 : epoch,
      epochsDone: epoch,
    };
    await setAsideAbandoned(options, last, emit);
  }
  return await runActors(
    options.plugins,
    wanted,
    emit,
    (system, profile) => new FinetuneRun(system, prepared, caches, emit, signal, profile, ranks).run(),
  );
}

/** A fine-tuning under way. */
class FinetuneRun {
  readonly #prepared: PreparedFinetune;
  readonly #emit: Emit<FinetuneEvent>;
  readonly #run: LabelledRun<FinetuneTrainer>;
  readonly #profile: ProfileCollector | undefined;
  /** What was told of. */
  readonly #told: { step: number; stats: number; epoch: number };
  /** Where this attempt began; after a crash, the newest checkpoint. */
  #start: FinetuneStart;
  #best: number;
  /** Top-1 of the best checkpoint, in percent; below 0 where there is none. */
  #bestInFile = -1;
  #last: ClassificationScore = { loss: NaN, top1: 0, top5: 0 };
  /** The test images, while they are read. */
  #testing: ReadingProgress | undefined;
  /** Epochs of the test images that were read in this attempt. */
  #tests = 0;
  #nextStep = Promise.withResolvers<void>();
  #nextSaved = Promise.withResolvers<void>();
  readonly #ranks: RankSettings | undefined;
  /** Resolves where another rank was stopped, and all have saved. */
  readonly #stopped = Promise.withResolvers<StoppedError>();
  #hasSavedLast = false;

  constructor(
    system: ActorSystem,
    prepared: PreparedFinetune,
    caches: ImageCaches,
    emit: Emit<FinetuneEvent>,
    signal: AbortSignal | undefined,
    profile: ProfileCollector | undefined,
    ranks: RankSettings | undefined,
  ) {
    this.#ranks = ranks;
    const { options, data, batchesPerEpoch, start } = prepared;
    const { output, resume, evaluate } = options;
    this.#prepared = prepared;
    this.#emit = emit;
    this.#profile = profile;
    this.#start = start;
    this.#best = start.best;
    const { extraSteps } = start;
    const firstStep = countSteps({ batchesPerEpoch, extraSteps }, start);
    this.#told = { step: firstStep, stats: firstStep, epoch: -1 };
    if (this.#isTrained && !evaluate) {
      const text = `all ${start.epoch} epochs are done; finishing the run`;
      emit({ type: "note", text });
    }
    const settings = {
      ...options,
      learningRates: [options.lr, options.lrLastLayer],
      scale: scaleOf(options, batchesPerEpoch),
      fallsAfterWarmup: options.cos || options.schedule.some((epoch) => epoch < options.epochs),
    };
    const notes = evaluate ? [] : checkSettings(settings, { images: data.trainImages, batchesPerEpoch });
    emit({
      type: "plan",
      ...planOf(prepared, { batchesPerEpoch, extraSteps, firstEpoch: start.epoch, caches, notes }),
      firstStep,
      testsFirst: evaluate || this.#testsFirst,
    });
    const shared = ranks && { ...ranks, exchange: spawnExchange(system, ranks, options.actors) };
    this.#run = new LabelledRun<FinetuneTrainer>(system, {
      output,
      resume,
      emit,
      signal,
      ranks,
      save: (how) => this.#save(how),
      goBack: () => this.#goBack(),
      progress: () => this.#told.step,
      spawn: (supervisor, resume) =>
        spawnFinetunePipeline(supervisor, {
          ...prepared,
          caches,
          ranks: shared,
          monitor: listenToActors<FinetuneActorEvent>(system, emit, (event) => this.#take(event)),
          from: () => ({ start: this.#start, resume: resume() }),
        }),
    });
  }

  /** Whether all epochs were trained before: only the test images are to be classified. */
  get #isTrained(): boolean {
    const { options: { epochs }, start } = this.#prepared;
    return start.epoch >= epochs;
  }

  /** Whether this attempt begins between an epoch and its test, or only the end of the run is missing. */
  get #testsFirst(): boolean {
    const { epoch, progress } = this.#start;
    return !progress.isTested || epoch >= this.#prepared.options.epochs;
  }

  async run(): Promise<FinetuneResult> {
    await this.#run.do(() => this.#work(), this.#stopped.promise);
    await this.#measureKernels();
    const checkpoint = this.#run.training.checkpoint ??
      (this.#isTrained ? this.#prepared.options.resume : null);
    return { last: this.#last, best: this.#best, checkpoint };
  }

  /** All actors begin again where the newest checkpoint left off. */
  async #goBack(): Promise<void> {
    if (this.#ranks !== undefined) throw new UserError(CANNOT_GO_BACK);
    const { options, classes, batchesPerEpoch } = this.#prepared;
    this.#start = await findStart({ ...options, resume: this.#run.resume }, classes, batchesPerEpoch);
    this.#best = this.#start.best;
    this.#tests = 0;
    this.#noteSaved(); // what was to come later will not come
  }

  /** Takes what the actors tell. */
  #take(event: FinetuneActorEvent): void | Promise<void> {
    if (event.type === "warning") this.#emit(event);
    // The other ranks have as much to do.
    if (event.type === "came") this.#testing?.add(event.images * (this.#ranks?.size ?? 1));
    if (event.type === "saved") return this.#takeSaved(event);
    if ((event.type !== "step" && event.type !== "stats") || this.#run.training.isOver) return;
    if (event.step <= this.#told.step) return; // done once more, after a crash
    if (event.type === "stats") {
      // They come before their step, and again where the trainer crashed in between.
      if (event.step === this.#told.stats) return;
      this.#told.stats = event.step;
      return void this.#emit(event);
    }
    this.#told.step = event.step;
    this.#emit(event);
    this.#nextStep.resolve();
    this.#nextStep = Promise.withResolvers();
  }

  /** All of it from where the actors are, or until the first crash. */
  async #work(): Promise<void> {
    const { epochs, evaluate } = this.#prepared.options;
    const { epoch: first, batch, progress } = this.#start;
    if (evaluate) return await (batch > 0 ? this.#test(first, null, true) : this.#test(first - 1, null));
    this.#bestInFile = await this.#findBest();
    if (this.#testsFirst) {
      const { images, loss, top1, top5 } = progress.trained;
      const share = (count: number) => 100 * count / images;
      await this.#test(first - 1, { loss: loss / images, top1: share(top1), top5: share(top5) });
    }
    await this.#run.trainEpochs(first, epochs, async (epoch) => {
      await this.#test(epoch, await this.#train(epoch, epoch === first ? batch : 0));
    });
    if (first >= epochs) await this.#run.training.save();
  }

  /** Has a source read, and waits until the trainer has consumed all of it. */
  async #read(
    source: string,
    range: ReadingRange,
    purpose: "train" | "queries",
  ): Promise<ClassificationScore> {
    const { pipeline } = this.#run;
    // Not the one after a crash, which would wait for images that it does not get.
    const trainer = this.#run.trainer.ref;
    // Of several ranks one may have none that can be used.
    const images = this.#ranks === undefined
      ? await pipeline.readAll(source, range)
      : await pipeline.read(source, range);
    return await trainer.ask("finish", { purpose, images }, PATIENCE);
  }

  /**
   * Finds out the accuracy of the best checkpoint. It lies in the folder of the run, or beside the checkpoint of another folder that
   * the run began with, which then says it.
   */
  async #findBest(): Promise<number> {
    const { output, resume } = this.#prepared.options;
    const isFromElsewhere = resume !== null && !isIn(output, resume);
    return await readBest(output, (file) => readFinetuneCheckpoint(file).best) ??
      (isFromElsewhere ? this.#start.best : -1);
  }

  #train(epoch: number, firstBatch: number): Promise<ClassificationScore> {
    return this.#read(TRAIN, { epoch, firstBatch }, "train");
  }

  /** Classifies the test images by the weights of now, after an epoch, or within one. */
  async #test(epoch: number, trained: ClassificationScore | null, isPartial = false): Promise<void> {
    const { options, batchesPerEpoch } = this.#prepared;
    const { evaluate } = options;
    const trainer = this.#run.trainer.ref;
    await trainer.ask("freeze", undefined, PATIENCE);
    const { rowCount: total } = this.#prepared.data.test;
    this.#testing = new ReadingProgress({ phase: "evaluation", total }, this.#emit);
    const tested = this.#last = await this.#read(TEST, { epoch: this.#tests++ }, "queries");
    this.#testing.end();
    if (!Number.isFinite(tested.loss)) {
      throw new UserError(
        `the loss is ${tested.loss} on the test images ${
          isPartial ? "within" : "after"
        } epoch ${epoch}: training has diverged. Earlier checkpoints ` +
          "are whole; try a lower --lr or --lr-last-layer",
      );
    }
    const { top1 } = tested;
    const isBest = top1 > this.#bestInFile;
    this.#best = Math.max(this.#best, top1);
    if (!evaluate) await trainer.ask("note", { best: this.#best, top1, isBest }, PATIENCE);
    if (isBest) this.#bestInFile = top1;
    if (epoch <= this.#told.epoch && !evaluate) return;
    this.#told.epoch = epoch;
    // Of the last step; where a checkpoint is only evaluated, as that says.
    const last = batchBefore({ epoch: epoch + 1, batch: 0 }, batchesPerEpoch);
    const saved = evaluate ? this.#start.rates : undefined;
    const rates = saved ?? learningRatesOf(options, last, batchesPerEpoch);
    const told = { epoch, ...isPartial && { isPartial }, ...rates, trained, tested, best: this.#best };
    this.#emit({ type: "epoch", ...told });
  }

  /** A checkpoint was written that was put off. Where another rank was stopped, this one ends too. */
  async #takeSaved({ path, ends }: Extract<FinetuneActorEvent, { type: "saved" }>): Promise<void> {
    if (path !== null) await this.#run.training.saved(path);
    if (this.#ranks === undefined) return this.#noteSaved();
    if (!ends) return; // ranks may save in the meantime without ending
    this.#noteSaved();
    this.#hasSavedLast = true;
    this.#stopped.resolve(new StoppedError(new StoppedByRank(), path));
  }

  #noteSaved(): void {
    this.#nextSaved.resolve();
    this.#nextSaved = Promise.withResolvers();
  }

  /**
   * Has a checkpoint of where training is written; nothing where nothing was trained, or where it has been told of. Between
   * batches that accumulate it comes after the last of them, by itself; of several ranks, when they meet next; or at the end, where
   * actors are started again before that.
   */
  async #save(how: { ends: boolean }): Promise<string | null> {
    if (this.#prepared.options.evaluate || this.#hasSavedLast) return null;
    const next = this.#nextSaved.promise;
    const found = await this.#run.trainer.ref.ask("save", how, PATIENCE);
    if (found === "later") {
      await next;
      return null; // it was told of
    }
    const { path, step } = found;
    // A rank that is stopped waits for the checkpoint that ends all, which no other one is.
    if (this.#ranks === undefined || how.ends) this.#noteSaved();
    // Its steps come another way, and may be told of later.
    while (path !== null && this.#told.step < step) await this.#run.whileUp(this.#nextStep.promise);
    return path;
  }

  async #measureKernels(): Promise<void> {
    const profile = this.#profile;
    if (profile === undefined) return;
    this.#emit({ type: "note", text: "timing every kernel" });
    await this.#run.training.untilAborted(async () => {
      for (const { name, ref } of [...this.#run.pipeline.augmenters, this.#run.trainer]) {
        profile.add(name, await ref.ask("profile", undefined, PATIENCE));
      }
    });
  }
}
