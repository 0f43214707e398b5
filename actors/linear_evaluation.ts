/**
 * The recipe of a linear evaluation (the original's main_lincls.py; MoCo's protocol): a linear classifier is trained on
 * the features of a frozen encoder, and judged on other pictures after every epoch.
 *
 *     tsv_reader x workers -> augmenter -> feature_encoder -> linear_trainer
 *     test_reader -> test_augmenter -> feature_encoder
 */
import { FolderLostError } from "../data/folder_identity.ts";
import { fingerprintDataset } from "../data/fingerprint.ts";
import { openDataset } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";
import { CheckpointError } from "../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../models/checkpoint/checkpoint_file.ts";
import { fingerprintWeights } from "../models/checkpoint/fingerprint_weights.ts";
import { readLinearCheckpoint } from "../models/checkpoint/linear_checkpoint.ts";
import type { Term } from "../models/checkpoint/run_terms.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import { batchScale, linearLearningRate } from "../models/optim/schedule.ts";
import { findEncoder } from "../models/registry.ts";
import type augmenter from "./augmenter.ts";
import { actorUrl } from "./catalog.ts";
import type { Views } from "./augmenter.ts";
import { type EvaluationResize, resolveEvaluationResize } from "./evaluation_resize.ts";
import type featureEncoder from "./feature_encoder.ts";
import type { EncoderChoice } from "./feature_encoder.ts";
import { Divergence, warnOfLargeLoss } from "./linear_divergence.ts";
import type { LinearOptions } from "./linear_options.ts";
import type linearTrainer from "./linear_trainer.ts";
import { freshBackbone, type LinearTrainerConfig } from "./linear_trainer.ts";
import type { Augmenter, LinearMonitor, ProbeScore, Purpose, TsvReader } from "./messages.ts";
import {
  brokenRowHandler,
  checkSameClasses,
  countPictures,
  type DataFacts,
  factsOf,
  NothingToDoError,
  retryAfterCrash,
  type WarningEvents,
  watchdogOf,
  whenAborted,
  withMaxPixels,
  withWarningsOnce,
} from "./recipe.ts";
import { checkTerms, linearTerms } from "./run_terms.ts";
import { type ActorRef, ActorSystem } from "./runtime/mod.ts";
import type tsvReader from "./tsv_reader.ts";
import { EVALUATION_ORDER, type ReadingOrder, TRAINING_ORDER, type TsvReaderConfig } from "./tsv_reader.ts";

/** Batches that one reader may have on their way: one in each of the stages, so that none has to wait. */
const BATCHES_UNDER_WAY = 5;

/** Checkpoints are written at an epoch's end, but no more often than this. */
const SECONDS_BETWEEN_CHECKPOINTS = 60;

/** Labels above which they are taken for something else than numbers of classes: ImageNet-21k has 21,841. */
const MOST_CLASSES = 2 ** 20;

/** What a linear evaluation is, known before the first step. */
export interface LinearPlan {
  /** Rows to learn from, broken ones included. */
  trainPictures: number;
  /** Rows to classify, broken ones included. */
  testPictures: number;
  /** Labels are 0 to classes - 1. */
  classes: number;
  /** Length of a feature. */
  features: number;
  /** The last one may be smaller. */
  batchesPerEpoch: number;
  /** Epochs that were done before. */
  firstEpoch: number;
  /** How pictures become views where no crop is drawn. */
  evalResize: EvaluationResize;
}

/** A step of a linear evaluation. */
export interface LinearStep {
  /** From 0. */
  epoch: number;
  /** From 1, over the whole run. */
  step: number;
  /** Of the first learning rate's classifier that has not diverged, on the batch before it learnt from it. */
  score: ProbeScore;
  /** That learning rate, after scaling. */
  lr: number;
}

/** How the classifiers did in an epoch. One of each a learning rate. */
export interface LinearEpoch {
  /** From 0. */
  epoch: number;
  /** Of this epoch, after scaling. */
  learningRates: readonly number[];
  /** On the pictures that were learnt from, while they were; empty where the run only evaluates. */
  trained: readonly ProbeScore[];
  /** On the test pictures. */
  tested: readonly ProbeScore[];
  /** Which classifiers have diverged, in this epoch or before: a loss of theirs was not finite. */
  diverged: readonly boolean[];
}

/** What came of one learning rate. */
export interface LinearScore {
  /** As it was given, before scaling. */
  lr: number;
  /** On the test pictures after the last epoch. */
  last: ProbeScore;
  /** Best top-1 on the test pictures after any epoch, in percent. */
  best: number;
  /** Whether a loss of it was not finite; then it is never the best one. */
  diverged: boolean;
}

/** What came of a linear evaluation. */
export interface LinearResult {
  /** In the order of the learning rates. */
  scores: readonly LinearScore[];
  /** Index of the best one. */
  chosen: number;
  /** The last checkpoint; `null` where the run only evaluates. */
  checkpoint: string | null;
}

/** What a linear evaluation tells while it runs. */
export interface LinearEvents extends WarningEvents {
  /** The files are open and fit each other; actors start now. */
  onPlan?(plan: LinearPlan): void;
  /** The actors are spawned, once more after a crash. */
  onActors?(actors: ActorSystem["actors"]): void;
  /** A step is done. */
  onStep?(report: LinearStep): void;
  /** An epoch is done, and the test pictures are classified. */
  onEpoch?(epoch: LinearEpoch): void;
  /** Something a person should know. */
  onNote?(text: string): void;
}

/**
 * Runs a linear evaluation to its end. An abort of `signal` saves a checkpoint of the last whole epoch, and then rejects
 * with the signal's reason.
 *
 * When an actor crashes, all are stopped, and the evaluation goes on from its newest checkpoint; what it does once more is
 * not told of again.
 *
 * @param isUnfinished whether the evaluation that `resume` goes on with has not come to its end: where only that is missing,
 * the test pictures are classified by what was trained
 * @throws {NothingToDoError} where all epochs are done, and it is not unfinished
 * @throws {UserError} for data and checkpoints that do not fit the options, and where every learning rate diverges; a
 * checkpoint of the last whole epoch is saved then too
 * @throws {ActorCrash} when actors fail again and again; all have been stopped then
 */
export async function runLinearEvaluation(
  options: LinearOptions,
  events: LinearEvents = {},
  signal?: AbortSignal,
  isUnfinished = false,
): Promise<LinearResult> {
  const { trainData, imageSize } = options;
  const evalResize = await resolveEvaluationResize(options.evalResize, trainData, imageSize);
  options = await withMaxPixels({ ...options, evalResize });
  events = withWarningsOnce(events);
  const data = await findClasses(options, events);
  checkSameClasses(data.train, data.test);
  checkWhetherDone(options, await findStart(options), isUnfinished);
  const terms = await findTerms({ ...options, evalResize }, data);
  if (options.resume !== null) await compareWithCheckpoint(options, terms, events);
  let { resume } = options;
  let hasPlan = false;
  const told = { step: 0, epoch: -1 };
  const firstTime: LinearEvents = {
    ...events,
    onPlan(plan) {
      if (!hasPlan) events.onPlan?.(plan);
      hasPlan = true;
    },
    onStep(report) {
      if (report.step > told.step) events.onStep?.(report);
      told.step = Math.max(told.step, report.step);
    },
    onEpoch(report) {
      if (report.epoch > told.epoch) events.onEpoch?.(report);
      told.epoch = Math.max(told.epoch, report.epoch);
    },
  };
  return await retryAfterCrash(
    events,
    () => resume ?? "the beginning",
    () => {
      // What was saved by this very run and then crashed has its end still before it.
      const goesOn = { ...options, evalResize, resume };
      return evaluateOnce(goesOn, { ...data, terms }, firstTime, (path) => resume = path, signal);
    },
  );
}

/** Options with a rule for views that is decided. */
type ResolvedOptions = LinearOptions & { evalResize: EvaluationResize };

/** All of it, or until the first crash. */
async function evaluateOnce(
  options: ResolvedOptions,
  { train, test, terms }: LinearData & { terms: readonly Term[] },
  events: LinearEvents,
  onSaved: (path: string) => void,
  signal?: AbortSignal,
): Promise<LinearResult> {
  const { lr, epochs, batchSize, evaluate, cacheFeatures } = options;
  const { features } = findEncoder(options.arch);
  const classes = options.classes ?? Math.max(train.classes, test.classes);
  const start = await findStart(options);
  const batchesPerEpoch = Math.ceil(train.rowCount / batchSize);
  const isTrained = !evaluate && start.epoch >= epochs;
  if (isTrained) events.onNote?.(`all ${start.epoch} epochs are done; only the end of the run is missing`);
  events.onPlan?.({
    trainPictures: train.rowCount,
    testPictures: test.rowCount,
    classes,
    features,
    batchesPerEpoch,
    firstEpoch: start.epoch,
    evalResize: options.evalResize,
  });
  const divergence = new Divergence(lr, start.diverged, events);
  const schedule = (rate: number) => ({
    lr: rate,
    scale: options.scaleLr ? batchScale(batchSize) : 1,
    warmupEpochs: options.warmupEpochs,
    milestones: options.schedule,
  });
  const ratesOf = (epoch: number) => lr.map((rate) => linearLearningRate(epoch, schedule(rate)));

  const system = new ActorSystem({ imports: options.plugins, watchdog: watchdogOf(events) });
  return await system.run(async () => {
    const monitor = system.listen<LinearMonitor>("monitor", {
      step({ epoch, batch, scores, learningRates }) {
        const step = epoch * batchesPerEpoch + batch + 1;
        divergence.look(scores, learningRates, `epoch ${epoch}, batch ${batch}`);
        const shown = Math.max(0, divergence.diverged.indexOf(false));
        events.onStep?.({ epoch, step, score: scores[shown], lr: learningRates[shown] });
      },
      warning: (text) => events.onWarning?.(text),
      brokenRow: brokenRowHandler(events),
    });
    const line = spawnLine(
      system,
      options,
      { features, classes, terms, trains: !evaluate && !isTrained },
      monitor,
      start.epoch,
    );
    events.onActors?.(system.actors);
    const { trainer } = line;
    const patience = { timeoutMs: Infinity };
    const best = [...start.best];
    let last: ProbeScore[] = [];
    let checkpoint: string | null = null;
    let tests = 0;

    const read = async (readers: readonly ActorRef<TsvReader>[], epoch: number, purpose: Purpose) => {
      const counts = await Promise.all(readers.map((reader) => reader.ask("read", { epoch }, patience)));
      const pictures = countPictures(purpose === "queries" ? options.testData : options.trainData, counts);
      return await trainer.ask("finish", { purpose, pictures }, patience);
    };
    const judge = () =>
      cacheFeatures && !evaluate
        ? trainer.ask("judgeKept", undefined, patience)
        : read(line.testReaders, tests++, "queries");
    // What has diverged is worse than any.
    const ranks = () => best.map((top1, i) => divergence.diverged[i] ? -Infinity : top1);
    const chosen = () => ranks().indexOf(Math.max(...ranks()));

    const work = async (): Promise<void> => {
      await line.connected;
      if (evaluate || isTrained) {
        if (isTrained && cacheFeatures) await read(line.testReaders, 0, "queries");
        last = await judge();
        const epoch = start.epoch - 1; // the checkpoint's last one, not the next one
        const learningRates = isTrained ? ratesOf(epoch) : lr;
        divergence.look(last, learningRates, "the test pictures");
        const { diverged } = divergence;
        events.onEpoch?.({ epoch, learningRates, trained: [], tested: last, diverged });
        if (isTrained) checkpoint = options.resume;
        for (const [i, { top1 }] of last.entries()) best[i] = Math.max(best[i], top1);
        return;
      }
      if (cacheFeatures) {
        events.onNote?.("embedding the pictures once; every epoch trains on these features");
        await read(line.trainReaders, 0, "bank");
        await read(line.testReaders, 0, "queries");
      }
      let savedAt = performance.now();
      let bestProbe = chosen();
      for (let epoch = start.epoch; epoch < epochs; epoch++) {
        const learningRates = ratesOf(epoch);
        const train = async () => {
          await trainer.tell("begin", { learningRates });
          return await read(line.trainReaders, epoch, "train");
        };
        const trained = cacheFeatures
          ? await trainer.ask("trainOnKept", { epoch, learningRates }, patience)
          : await train();
        last = await judge();
        divergence.look(last, learningRates, `the test after epoch ${epoch}`);
        if (divergence.isOver) return;
        const diverged = [...divergence.diverged];
        const before = Math.max(...ranks());
        for (const [i, { top1 }] of last.entries()) best[i] = Math.max(best[i], top1);
        const progress = {
          epoch: epoch + 1,
          best: [...best],
          diverged,
          probe: chosen(),
          // One that has diverged is not the best any more, whatever it once was.
          isBest: Math.max(...ranks()) > before || diverged[bestProbe],
        };
        bestProbe = progress.probe;
        await trainer.ask("note", progress, patience);
        events.onEpoch?.({ epoch, learningRates, trained, tested: last, diverged });
        const isDue = performance.now() - savedAt >= 1000 * SECONDS_BETWEEN_CHECKPOINTS;
        if (epoch < epochs - 1 && !isDue) continue;
        ({ path: checkpoint } = await trainer.ask("save", undefined, patience));
        if (checkpoint !== null) onSaved(checkpoint);
        savedAt = performance.now();
      }
    };

    const aborted = whenAborted(signal);
    const reason: unknown = await Promise.race([
      work().then(() => divergence.isOver ? divergence.over : undefined),
      divergence.over,
      aborted.promise.then(() => signal!.reason),
    ]);
    aborted.forget();
    if (reason !== undefined) {
      if (reason instanceof FolderLostError) throw reason; // there is nowhere to save to
      const { path } = evaluate || isTrained
        ? { path: null }
        : await trainer.ask("save", undefined, patience);
      if (path !== null) events.onNote?.(`checkpoint saved to ${path}`);
      throw reason;
    }
    const diverged = [...divergence.diverged];
    const scores = lr.map((rate, i) => ({ lr: rate, last: last[i], best: best[i], diverged: diverged[i] }));
    warnOfLargeLoss(scores[chosen()], classes, events);
    return { scores, chosen: chosen(), checkpoint };
  });
}

/** What is known of pictures with labels. */
type LabelledFacts = DataFacts & { classes: number; fingerprint: string };

/** The pictures to learn from, and those to classify. */
interface LinearData {
  train: LabelledFacts;
  test: LabelledFacts;
}

/** What the pictures are, and how many classes their labels speak of. */
async function findClasses(
  { trainData, testData, classes }: LinearOptions,
  { onWarning }: WarningEvents,
): Promise<LinearData> {
  const [train, test] = await Promise.all([trainData, testData].map(async (path): Promise<LabelledFacts> => {
    using dataset = await openDataset(path, { onWarning });
    const facts = { ...factsOf(dataset), fingerprint: await fingerprintDataset(dataset) };
    if (classes !== null) return { ...facts, classes };
    const largest = dataset.largestLabel();
    if (largest === undefined || largest < 0) {
      throw new UserError(`${path}: its rows have no labels from 0 on, which a linear evaluation needs`);
    }
    if (largest >= MOST_CLASSES) {
      throw new UserError(
        `${path}: expected labels that number the classes from 0 on, found ${largest}, which would make ${
          largest + 1
        } classes; give the classes numbers, or say --classes`,
      );
    }
    return { ...facts, hasLabels: true, classes: largest + 1 };
  }));
  return { train, test };
}

/** What the classifiers follow from. */
async function findTerms(options: ResolvedOptions, { train, test }: LinearData): Promise<Term[]> {
  const { pretrained, arch, which } = options;
  const data = { data: train.fingerprint, testData: test.fingerprint };
  if (pretrained === null) {
    return linearTerms(options, { ...data, encoder: await fingerprintWeights(freshBackbone(options)) });
  }
  using source = await openEncoderSource(pretrained, { arch, which, part: "backbone" });
  return linearTerms(options, { ...data, encoder: await fingerprintWeights(source.tensors) });
}

/**
 * Compares the evaluation with the one that wrote the checkpoint. What is only classified with may be other pictures, but
 * the classifiers know the features of one encoder alone.
 */
async function compareWithCheckpoint(
  { resume, lr, evaluate, resumeAnyway = false }: LinearOptions,
  terms: readonly Term[],
  events: LinearEvents,
): Promise<void> {
  using file = await openCheckpointFile(resume!);
  const { terms: saved } = await readLinearCheckpoint(file, lr[0]);
  const compared = evaluate ? terms.filter(({ name }) => name === "encoder") : terms;
  checkTerms(resume!, saved, compared, resumeAnyway, events);
}

function checkWhetherDone(
  { resume, epochs, evaluate }: LinearOptions,
  { epoch }: { epoch: number },
  isUnfinished: boolean,
): void {
  if (evaluate || epoch < epochs || isUnfinished) return;
  throw new NothingToDoError(
    `${resume}: ${epoch} of ${epochs} epochs are done, so there is nothing left to do; use more --epochs`,
  );
}

/** The first epoch, the best top-1 that each learning rate has seen, and which of them have diverged. */
async function findStart(
  { resume, lr, startEpoch }: LinearOptions,
): Promise<{ epoch: number; best: number[]; diverged: boolean[] }> {
  // Worse than any, so that the first epoch is the best so far.
  const none = lr.map(() => -1);
  if (resume === null) return { epoch: startEpoch, best: none, diverged: lr.map(() => false) };
  using file = await openCheckpointFile(resume);
  const { epoch, probes } = await readLinearCheckpoint(file, lr[0]);
  const found = lr.map((rate) => probes.find((probe) => probe.lr === rate));
  const diverged = found.map((probe) => probe?.values.size === 0);
  if (diverged.every(Boolean)) {
    const others = probes.filter(({ values }) => values.size > 0).map((probe) => probe.lr);
    throw new CheckpointError(
      resume,
      `its classifiers of learning rate ${lr.join(", ")} have diverged; use --lr ${others.join(",")}`,
    );
  }
  return { epoch, best: found.map((probe) => probe?.best ?? -1), diverged };
}

function encoderChoice({ pretrained, arch, which, seed }: LinearOptions): EncoderChoice {
  return pretrained === null ? { arch, seed } : { path: pretrained, arch, which };
}

/** The line of actors, wired from its end. */
function spawnLine(
  system: ActorSystem,
  options: ResolvedOptions,
  { features, classes, terms, trains }: {
    features: number;
    classes: number;
    terms: readonly Term[];
    /** Whether there is anything to learn from. */
    trains: boolean;
  },
  monitor: ActorRef<LinearMonitor>,
  firstEpoch: number,
) {
  const { workers, seed, batchSize, imageSize, cacheFeatures, evaluate } = options;
  const { ref: trainer } = system.spawn<typeof linearTrainer>(
    "linear_trainer",
    actorUrl("linear_trainer", options.actors),
    {
      options,
      features,
      classes,
      keepsQueries: cacheFeatures && !evaluate,
      terms,
      monitor,
    } satisfies LinearTrainerConfig,
  );
  const { ref: encoder } = system.spawn<typeof featureEncoder>(
    "feature_encoder",
    actorUrl("feature_encoder", options.actors),
    {
      encoder: encoderChoice(options),
      output: "feature",
      batchSize,
      imageSize,
      tuning: options.tuning,
      next: trainer,
    },
  );
  const spawnViews = (name: string, views: Views) =>
    system.spawn<typeof augmenter>(name, actorUrl("augmenter", options.actors), {
      batchSize,
      imageSize,
      views,
      next: encoder,
    }).ref;
  const spawnReaders = (name: string, path: string, purpose: Purpose, order: ReadingOrder) =>
    Array.from(
      { length: workers },
      (_, worker) =>
        system.spawn<typeof tsvReader>(
          workers === 1 ? name : `${name} ${worker}`,
          actorUrl("tsv_reader", options.actors),
          {
            path,
            purpose,
            order,
            worker,
            workers,
            seed,
            batchSize,
            maxPixels: options.maxPixels,
            viewBytes: batchSize * imageSize * imageSize * 4,
            embeddingBytes: batchSize * features * 4,
            batchesUnderWay: BATCHES_UNDER_WAY,
            monitor,
          } satisfies TsvReaderConfig,
        ).ref,
    );
  const inOrder = { epoch: 0, batch: 0 };
  const lines: { readers: ActorRef<TsvReader>[]; views: ActorRef<Augmenter> }[] = [];
  const spawnBranch = (name: string, views: Views, path: string, purpose: Purpose, order: ReadingOrder) => {
    const readers = spawnReaders(`${name}_reader`, path, purpose, order);
    lines.push({ readers, views: spawnViews(`${name}_augmenter`, views) });
    return readers;
  };
  const unaugmented = { kind: "evaluation", resize: options.evalResize, first: inOrder } as const;
  // Kept features are shuffled by who keeps them.
  const train = cacheFeatures ? { views: unaugmented, purpose: "bank", shuffle: false } as const : {
    views: { kind: "training", augmentation: "plain", seed, first: { epoch: firstEpoch, batch: 0 } },
    purpose: "train",
    shuffle: true,
  } as const;
  const trainReaders = !trains ? [] : spawnBranch("train", train.views, options.trainData, train.purpose, {
    ...TRAINING_ORDER,
    shuffle: train.shuffle,
    dropLast: false,
  });
  const testReaders = spawnBranch("test", unaugmented, options.testData, "queries", EVALUATION_ORDER);
  const connected = Promise.all([
    trainer.tell("connect", { readers: [...trainReaders, ...testReaders] }),
    ...lines.flatMap(({ readers, views }) =>
      readers.map((reader) => reader.tell("connect", { augmenter: views }))
    ),
  ]);
  connected.catch(() => {}); // the system says why
  return { trainer, trainReaders, testReaders, connected };
}
