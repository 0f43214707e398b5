/**
 * The recipe of a distillation: which actors there are, how they are wired, and what is asked of them in which order.
 *
 *     tsv_reader x workers -> augmenter -> teacher_encoder -> queue_keeper -> student_trainer
 *     bank_reader, query_reader, gallery_reader -> evaluation_augmenter -> evaluator
 *     cartographer
 */
import { checkSameClassNames } from "../data/dataset.ts";
import { FolderLostError } from "../data/folder_identity.ts";
import { resolveDataset } from "../data/open_dataset.ts";
import { EpochOrder } from "../data/sampler.ts";
import { UserError } from "../errors.ts";
import { describeAdapter } from "../kernels/gpu.ts";
import type { LossScale } from "../kernels/ops/loss_scale/loss_scale.ts";
import { pruneCheckpoints } from "../models/checkpoint/run_checkpoints.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import { findStart, identifyRun, originalStudent, savedStudent } from "./distill_start.ts";
import { type EvaluationResize, resolveEvaluationResize } from "./evaluation_resize.ts";
import { LookClock } from "./insight.ts";
import { Judge, type JudgeEvents } from "./judge.ts";
import type { Accuracy, Monitor, NamedValues, ReaderMonitor, TrainingLook, ViewSample } from "./messages.ts";
import type { DistillOptions } from "./options.ts";
import {
  abortable,
  brokenRowHandler,
  type DataFacts,
  describeRestart,
  identifyData,
  lookAtData,
  NothingToDoError,
  watchdogOf,
  whenAborted,
  withMaxPixels,
  withWarningsOnce,
} from "./recipe.ts";
import { ProfileCollector, type RunProfile } from "./run_profile.ts";
import { distillTerms } from "./run_terms.ts";
import { ActorSystem, type TraceSpan } from "./runtime/mod.ts";
import { openStudentInit } from "./student_init.ts";
import { TrainingRing } from "./training_ring.ts";

/** What came of a distillation. */
export interface DistillResult {
  /** Steps of this run. */
  steps: number;
  /** Mean loss of the first `batchesPerEpoch` steps, those before a resume among them where they are known. */
  firstLoss: number;
  /** The same of the last ones; one and the same in a run of an epoch or less. */
  lastLoss: number;
  /** The last checkpoint. */
  checkpoint: string;
  /**
   * kNN of teacher, student before and student after; `null` where there was nothing to evaluate on. The student before is
   * that of the run's very beginning, resumed or not; `null` where a resumed run does not know it any more.
   */
  knn: { teacher: Accuracy; before: Accuracy | null; after: Accuracy } | null;
}

/** What is known of a run that is gone on with, from its records. */
export interface RunSoFar {
  /** Its evaluations, as far as they are by the pictures and settings of now: they are not made again. */
  accuracies: readonly ({ of: "teacher" | "student"; step: number } & Accuracy)[];
  /** The losses of its steps; `null` where one was not finite. */
  losses: readonly { step: number; loss: number | null }[];
  /** Whether it has not come to its end. If only its end is missing, that is made up for. */
  isUnfinished: boolean;
  /** The step that it was to end after, where `limitSteps` was counted from its start and not from now. */
  end?: number;
}

/** What a run is, known before the first step. */
export interface DistillPlan {
  /** Rows to learn from, broken ones included. */
  pictures: number;
  /** Batches of an epoch; the pictures that do not fill one are left out. */
  batchesPerEpoch: number;
  /** Steps of the whole run, those done before included. */
  totalSteps: number;
  /** Steps that were done before. */
  firstStep: number;
  /** How pictures become views in the evaluations. */
  evalResize: EvaluationResize;
}

/** A step of a distillation. */
export interface DistillStep {
  /** From 0. */
  epoch: number;
  /** From 1, over the whole run. */
  step: number;
  /** SEED's loss of the batch. */
  loss: number;
  /** The learning rate. */
  lr: number;
  /** Of mixed precision, after the step. */
  lossScale?: LossScale;
}

/** What a distillation tells while it runs. */
export interface DistillEvents extends JudgeEvents {
  /** The files are open and fit each other; actors start now. */
  onPlan?(plan: DistillPlan): void;
  /** The actors are spawned. They are the run's own: whoever gets them may ask them for their `stats()`. */
  onActors?(actors: ActorSystem["actors"]): void;
  /** A step is done. */
  onStep?(report: DistillStep): void;
  /** Some views of the first batch are there to be looked at; small ones come by themselves. */
  onViews?(views: ViewSample): void;
  /** A look into a step; its `step` is from 1. */
  onLook?(look: TrainingLook & { step: number }): void;
  /** What an actor did, some of it at a time. */
  onTrace?(actor: string, spans: readonly TraceSpan[]): void;
  /** Where the time went, when all actors have ended; they are only traced where somebody wants to know. */
  onProfile?(profile: RunProfile): void;
}

const NOTHING_SO_FAR: RunSoFar = { accuracies: [], losses: [], isUnfinished: false };

/**
 * Runs a distillation to its end. An abort of `signal` saves a checkpoint of where training is, and then rejects with
 * the signal's reason.
 *
 * @param soFar what is known of the run that `resume` goes on with
 * @throws {NothingToDoError} where all steps are done, and `soFar` does not say that the end is missing
 * @throws {UserError} for data and checkpoints that do not fit the options
 * @throws {ActorCrash} when actors crash more often than `maxRestarts` allows; all have been stopped then
 */
export async function runDistillation(
  options: DistillOptions,
  events: DistillEvents = {},
  signal?: AbortSignal,
  soFar: RunSoFar = NOTHING_SO_FAR,
): Promise<DistillResult> {
  options = await withMaxPixels(options);
  events = withWarningsOnce(events);
  const { epochs, batchSize, seed, limitSteps } = options;
  if (options.amp) await checkHalf();
  const pictures = await findPictures(options, events);
  const { path: trainPath, rowCount: rows } = pictures;
  const { batchCount: batchesPerEpoch } = new EpochOrder(rows, seed, 0, batchSize, { shuffle: false });
  if (options.queue < batchSize) {
    throw new UserError(`a queue of ${options.queue} keys does not hold a batch of ${batchSize}`);
  }
  const start = await findStart(options, batchesPerEpoch);
  const firstStep = start.epoch * batchesPerEpoch + start.batch;
  const lastStep = Math.min(
    epochs * batchesPerEpoch,
    soFar.end ?? firstStep + (limitSteps ?? Infinity),
  );
  if (firstStep >= lastStep && !soFar.isUnfinished) {
    throw new NothingToDoError(
      `${options.resume}: ${start.epoch} of ${epochs} epochs are done, so there is nothing left to do; use more --epochs`,
    );
  }
  const totalSteps = Math.max(firstStep, lastStep);
  const testData = await findTestData(pictures, options, events);
  const teacher = await identifyTeacher(options, events);
  if (options.studentInit !== null && options.resume === null) await checkStudentInit(options, events);
  const terms = distillTerms(options, { data: pictures.fingerprint, teacher });
  const identity = await identifyRun(options, terms, events);
  // What comes after the checkpoint is made again.
  const isBefore = ({ step }: { step: number }) => step <= firstStep;
  const accuracies = soFar.accuracies.filter(isBefore);
  const knownLosses = soFar.losses.filter(isBefore).map(({ loss }) => loss ?? NaN);
  const evalResize = await findEvaluationResize(options, trainPath);
  events.onPlan?.({ pictures: rows, batchesPerEpoch, totalSteps, firstStep, evalResize });

  const profile = events.onProfile && new ProfileCollector();
  const isTraced = profile !== undefined || events.onTrace !== undefined;
  // An abort must not stop the actors before the checkpoint is written, so the system does not get the signal.
  const system = new ActorSystem({
    ...isTraced && {
      onTrace(actor: string, spans: readonly TraceSpan[]) {
        events.onTrace?.(actor, spans);
        profile?.take(actor, spans);
      },
    },
    imports: options.plugins,
    watchdog: watchdogOf(events),
  });
  const judging = { options, evalResize, train: pictures, test: testData, batchesPerEpoch, events };
  const run = system.run(async () => {
    if (firstStep === totalSteps) return await finishRun();
    const losses: number[] = [];
    let checkpoint = "";
    // Older ones go only when this run would return to the new one.
    const take = async (path: string) => {
      checkpoint = path;
      events.onNote?.(`checkpoint saved to ${path}`);
      if (options.keep > 0) await pruneCheckpoints(options.output, path, options.keep);
    };
    let stepsReported = firstStep;
    let epochsJudged = start.epoch;
    const lookClock = new LookClock();
    let trained = Promise.withResolvers<void>();
    const endsWithEpoch = totalSteps % batchesPerEpoch === 0;
    const monitor = system.listen<Monitor>("monitor", {
      step({ epoch, batch, loss, lr, lossScale }) {
        const step = epoch * batchesPerEpoch + batch + 1;
        if (step > stepsReported) { // else it is done again, to the same bits
          stepsReported = step;
          losses.push(loss);
          events.onStep?.({ epoch, step, loss, lr, lossScale });
          if (options.insight && lookClock.isDue()) ring.look();
        }
        if (step === totalSteps && !endsWithEpoch) trained.resolve();
      },
      async saved({ epoch, endsEpoch, path, weights }) {
        await take(path);
        if (!endsEpoch) return;
        if ((epoch + 1) * batchesPerEpoch === totalSteps) trained.resolve();
        else if (weights !== undefined && epoch >= epochsJudged) {
          epochsJudged = epoch + 1;
          judge?.epoch(epoch, weights).catch(() => {}); // the system says why
        }
      },
      views(views) {
        // An augmenter that is started again has a first batch of its own.
        if (stepsReported === firstStep) events.onViews?.(views);
      },
      look(look) {
        events.onLook?.({ ...look, step: look.epoch * batchesPerEpoch + look.batch + 1 });
      },
      warning: (text) => events.onWarning?.(text),
      brokenRow: brokenRowHandler(events),
    });

    const ring = new TrainingRing(system, {
      options,
      start,
      batchesPerEpoch,
      totalSteps,
      path: trainPath,
      identity,
      monitor,
      onRestart: describeRestart(events),
      async returnTo() {
        const resume = checkpoint === "" ? options.resume : checkpoint;
        const there = await findStart({ ...options, resume }, batchesPerEpoch);
        if (there.epoch * batchesPerEpoch + there.batch < totalSteps) {
          const before = trained;
          trained = Promise.withResolvers();
          before.resolve(); // who waited for it finds the new one
        }
        return { resume, start: there };
      },
    });
    const judge = Judge.spawn(system, { ...judging, monitor });
    events.onActors?.(system.actors);
    // No batch may come before the weights are copied.
    const untrained = options.resume === null ? judge && ring.weights() : undefined;
    // Next to training, not before it.
    const before = judge && (async () => {
      const first = await judgeBeginning(judge, await untrained);
      if (start.batch === 0) await judgeLostEpoch(judge);
      return first;
    })();
    before?.catch(() => {}); // awaited below

    // A trainer that is started again may have to go back before the end that was reached.
    const end = async () => {
      for (let reached; reached !== trained;) await (reached = trained).promise;
    };
    const training = (async () => {
      await untrained;
      ring.begin();
      await end();
    })();
    const aborted = whenAborted(signal);
    const finished = await Promise.race([
      training.then(() => true),
      aborted.promise.then(() => false),
    ]);
    aborted.forget();
    if (signal?.reason instanceof FolderLostError) throw signal.reason; // there is nowhere to save to
    if (!finished || !endsWithEpoch) {
      await take(await ring.save(finished ? end : undefined));
    }
    if (!finished) throw signal!.reason;

    if (testData !== null) events.onNote?.("trained; classifying the test pictures by weighted kNN");
    const knn = await abortable(signal, async () => {
      const after = await judge?.student(totalSteps, await ring.weights(end));
      return knnOf(await before, after);
    });
    if (profile !== undefined) {
      events.onNote?.("measuring every kernel");
      await abortable(signal, async () => {
        for (const [name, profiles] of await ring.profile()) profile.add(name, profiles);
      });
    }
    return {
      steps: losses.length,
      ...meanLosses([...knownLosses, ...losses], batchesPerEpoch),
      checkpoint,
      knn,
    };
  });

  /** The end of a run that was killed after its last step: what is left of it is to be evaluated. */
  async function finishRun(): Promise<DistillResult> {
    events.onNote?.(`all ${totalSteps} steps are done; only the end of the run is missing`);
    const monitor = system.listen<ReaderMonitor>("monitor", {
      warning: (text) => events.onWarning?.(text),
      brokenRow: brokenRowHandler(events),
    });
    const judge = Judge.spawn(system, { ...judging, monitor });
    events.onActors?.(system.actors);
    const knn = await abortable(signal, async () => {
      if (judge === undefined) return null;
      const first = await judgeBeginning(judge, undefined);
      const known = accuracies.find(({ of, step }) => of === "student" && step === totalSteps);
      return knnOf(first, await judge.student(totalSteps, await savedStudent(options.resume!), { known }));
    });
    return { steps: 0, ...meanLosses(knownLosses, batchesPerEpoch), checkpoint: options.resume!, knn };
  }

  /** Teacher and student as they were at the run's beginning. What its records say is not evaluated again. */
  async function judgeBeginning(
    judge: Judge,
    untrained: NamedValues | undefined,
  ): Promise<{ teacher?: Accuracy; before?: Accuracy }> {
    const { origin } = identity;
    const step = options.resume === null ? firstStep : (origin?.epoch ?? 0) * batchesPerEpoch;
    const teacher = await judge.teacher(step, accuracies.find(({ of }) => of === "teacher"));
    const known = accuracies.find((row) => row.of === "student" && row.step === step);
    const values = untrained ?? await originalStudent(options, origin);
    if (values !== undefined) return { teacher, before: await judge.student(step, values, { known }) };
    if (known === undefined && testData !== null) {
      events.onNote?.(
        origin === undefined
          ? `${options.resume} does not say how the run began: the student before is not known`
          : "the student before is not known: --student-init does not name what the run began with",
      );
    }
    return { teacher, before: known };
  }

  /** The epoch that the run goes on after, if the run was killed before it was evaluated. */
  async function judgeLostEpoch(judge: Judge): Promise<void> {
    const { knnEvery, resume } = options;
    if (resume === null || testData === null || knnEvery === 0 || start.epoch % knnEvery !== 0) return;
    if (start.epoch === (identity.origin?.epoch ?? 0)) return;
    if (accuracies.some(({ of, step }) => of === "student" && step === firstStep)) return;
    await judge.epoch(start.epoch - 1, await savedStudent(resume));
  }

  try {
    return await run;
  } finally {
    if (profile !== undefined) events.onProfile?.(profile.result());
  }
}

/** The ends of the result's curve; steps that were skipped have no loss. `batchesPerEpoch` losses make an epoch. */
function meanLosses(
  losses: readonly number[],
  batchesPerEpoch: number,
): Pick<DistillResult, "firstLoss" | "lastLoss"> {
  const mean = (values: readonly number[]) => {
    const known = values.filter(Number.isFinite);
    return known.reduce((sum, value) => sum + value, 0) / known.length;
  };
  return {
    firstLoss: mean(losses.slice(0, batchesPerEpoch)),
    lastLoss: mean(losses.slice(-batchesPerEpoch)),
  };
}

/** What a run ends with; nothing where there was nothing to evaluate on. */
function knnOf(
  { teacher, before = null }: { teacher?: Accuracy; before?: Accuracy | null } = {},
  after: Accuracy | undefined,
): DistillResult["knn"] {
  return teacher === undefined || after === undefined
    ? null
    : { teacher: accuracyOf(teacher), before: before && accuracyOf(before), after: accuracyOf(after) };
}

/** Without what a record says beside it. */
function accuracyOf({ top1, top5 }: Accuracy): Accuracy {
  return { top1, top5 };
}

/** The pictures to learn from. */
async function findPictures(
  options: DistillOptions,
  events: DistillEvents,
): Promise<DataFacts & { fingerprint: string | null }> {
  const { data, pictures } = options;
  if (pictures === undefined) return await identifyData(await resolveDataset(data, "train"), events);
  return { path: data, rowCount: pictures, hasLabels: false, classNames: undefined, fingerprint: null };
}

/** The pictures to evaluate on; `null` where there are none, or no labels to learn them by. */
async function findTestData(
  pictures: DataFacts,
  { testData }: DistillOptions,
  events: DistillEvents,
): Promise<DataFacts | null> {
  if (testData === null) return null;
  const facts = await lookAtData(testData, events);
  const unlabelled = [pictures, facts].find(({ hasLabels }) => !hasLabels);
  if (unlabelled !== undefined) {
    events.onNote?.(`no kNN: ${unlabelled.path} has no classes`);
    return null;
  }
  checkSameClassNames(pictures, facts);
  return facts;
}

/** How pictures become views: by those to learn from, or by those to be judged on where no file has the former. */
function findEvaluationResize(
  { evalResize, pictures, testData, imageSize }: DistillOptions,
  path: string,
): Promise<EvaluationResize> {
  return resolveEvaluationResize(
    evalResize,
    pictures === undefined ? path : testData ?? undefined,
    imageSize,
  );
}

/** Fails where the adapter cannot keep float16. */
async function checkHalf(): Promise<void> {
  const { name, hasHalf } = await describeAdapter();
  if (!hasHalf) {
    throw new UserError(
      `--amp keeps activations in float16, which ${name} cannot (no shader-f16); leave --amp out`,
    );
  }
}

/**
 * Fails before anything is started when the teacher's checkpoint is not what the options say.
 *
 * @returns the fingerprint of its weights
 */
async function identifyTeacher(
  { distill, teacherArch, dim }: DistillOptions,
  { onNote }: DistillEvents,
): Promise<string> {
  using source = await openEncoderSource(distill, { arch: teacherArch, dimension: dim, part: "encoder" });
  const fingerprint = await source.fingerprint(); // refuses weights that are not finite
  const { beside } = source;
  if (beside.length > 0) onNote?.(`not used of the teacher's checkpoint: ${beside.join(", ")}`);
  return fingerprint;
}

/** Fails where the student cannot start from that checkpoint, and says what of it is taken. */
async function checkStudentInit(options: DistillOptions, { onNote }: DistillEvents): Promise<void> {
  using init = await openStudentInit(options);
  await init.requireFinite();
  const head = init.takesHead
    ? "its head too"
    : init.hasHead
    ? "but not its head, which is another one: a fresh head is made"
    : "which has no head: a fresh one is made";
  onNote?.(`the student starts from ${options.studentInit} (a ${init.framework} checkpoint), ${head}`);
}
