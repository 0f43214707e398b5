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
import { CheckpointError } from "../models/checkpoint/checkpoint_error.ts";
import { pruneCheckpoints } from "../models/checkpoint/run_checkpoints.ts";
import { readStudentCheckpoint, requireFiniteStudent } from "../models/checkpoint/student_checkpoint.ts";
import { openCheckpointFile } from "../models/checkpoint/checkpoint_file.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import { initializeQueue } from "../models/initialize.ts";
import { findEncoder, summarize } from "../models/registry.ts";
import { LookClock } from "./insight.ts";
import { Judge, type JudgeEvents } from "./judge.ts";
import type { Accuracy, Monitor, TrainingLook, ViewSample } from "./messages.ts";
import { type DistillOptions, smallViewsOf } from "./options.ts";
import {
  abortable,
  brokenRowHandler,
  type DataFacts,
  describeRestart,
  lookAtData,
  NothingToDoError,
  watchdogOf,
  whenAborted,
  withMaxPixels,
  withWarningsOnce,
} from "./recipe.ts";
import { ProfileCollector, type RunProfile } from "./run_profile.ts";
import { ActorSystem, type TraceSpan } from "./runtime/mod.ts";
import { transpose } from "./student_trainer.ts";
import { openStudentInit } from "./student_init.ts";
import { type Start, TrainingRing } from "./training_ring.ts";

/** What came of a distillation. */
export interface DistillResult {
  /** Steps of this run. */
  steps: number;
  /** Mean loss of the first `batchesPerEpoch` steps of this run. */
  firstLoss: number;
  /** The same of the last ones; one and the same in a run of an epoch or less. */
  lastLoss: number;
  /** The last checkpoint. */
  checkpoint: string;
  /** kNN of teacher, student before and student after; `null` where there was nothing to evaluate on. */
  knn: { teacher: Accuracy; before: Accuracy; after: Accuracy } | null;
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

/**
 * Runs a distillation to its end. An abort of `signal` saves a checkpoint of where training is, and then rejects with
 * the signal's reason.
 *
 * @throws {UserError} for data and checkpoints that do not fit the options
 * @throws {ActorCrash} when actors crash more often than `maxRestarts` allows; all have been stopped then
 */
export async function runDistillation(
  options: DistillOptions,
  events: DistillEvents = {},
  signal?: AbortSignal,
): Promise<DistillResult> {
  options = await withMaxPixels(options);
  events = withWarningsOnce(events);
  const { epochs, batchSize, seed, limitSteps } = options;
  if (options.amp) await checkHalf();
  const pictures = await findPictures(options, events);
  const { path: trainPath } = pictures;
  const testData = await findTestData(pictures, options, events);
  const { rowCount: rows } = pictures;
  const { batchCount: batchesPerEpoch } = new EpochOrder(rows, seed, 0, batchSize, { shuffle: false });
  await checkTeacher(options, events);
  if (options.studentInit !== null && options.resume === null) await checkStudentInit(options, events);
  if (options.queue < batchSize) {
    throw new UserError(`a queue of ${options.queue} keys does not hold a batch of ${batchSize}`);
  }
  const start = await findStart(options, batchesPerEpoch);
  const firstStep = start.epoch * batchesPerEpoch + start.batch;
  const totalSteps = Math.min(epochs * batchesPerEpoch, firstStep + (limitSteps ?? Infinity));
  if (firstStep >= totalSteps) {
    throw new NothingToDoError(
      `${options.resume}: ${start.epoch} of ${epochs} epochs are done, so there is nothing left to do; use more --epochs`,
    );
  }
  events.onPlan?.({ pictures: rows, batchesPerEpoch, totalSteps, firstStep });

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
  const run = system.run(async () => {
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
    const judge = Judge.spawn(system, {
      options,
      train: pictures,
      test: testData,
      batchesPerEpoch,
      monitor,
      events,
    });
    events.onActors?.(system.actors);
    const untrained = judge && ring.weights();
    // Next to training, not before it.
    const before = judge && (async () => {
      const values = await untrained!;
      return { teacher: await judge.teacher(firstStep), student: await judge.student(firstStep, values) };
    })();
    before?.catch(() => {}); // awaited below

    // A trainer that is started again may have to go back before the end that was reached.
    const end = async () => {
      for (let reached; reached !== trained;) await (reached = trained).promise;
    };
    const training = (async () => {
      await untrained; // no batch may come before the weights are copied
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
      const first = await before;
      return after === undefined ? null : { teacher: first!.teacher!, before: first!.student!, after };
    });
    if (profile !== undefined) {
      events.onNote?.("measuring every kernel");
      await abortable(signal, async () => {
        for (const [name, profiles] of await ring.profile()) profile.add(name, profiles);
      });
    }
    const mean = (values: number[]) => {
      const known = values.filter(Number.isFinite); // steps that were skipped have none
      return known.reduce((sum, value) => sum + value, 0) / known.length;
    };
    return {
      steps: losses.length,
      firstLoss: mean(losses.slice(0, batchesPerEpoch)),
      lastLoss: mean(losses.slice(-batchesPerEpoch)),
      checkpoint,
      knn,
    };
  });
  try {
    return await run;
  } finally {
    if (profile !== undefined) events.onProfile?.(profile.result());
  }
}

/** The pictures to learn from. */
async function findPictures(options: DistillOptions, events: DistillEvents): Promise<DataFacts> {
  const { data, pictures } = options;
  if (pictures === undefined) return await lookAtData(await resolveDataset(data, "train"), events);
  return { path: data, rowCount: pictures, hasLabels: false, classNames: undefined };
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

/** Fails where the adapter cannot keep float16. */
async function checkHalf(): Promise<void> {
  const { name, hasHalf } = await describeAdapter();
  if (!hasHalf) {
    throw new UserError(
      `--amp keeps activations in float16, which ${name} cannot (no shader-f16); leave --amp out`,
    );
  }
}

/** Fails before anything is started when the teacher's checkpoint is not what the options say. */
async function checkTeacher(
  { distill, teacherArch, dim }: DistillOptions,
  { onNote }: DistillEvents,
): Promise<void> {
  using source = await openEncoderSource(distill, { arch: teacherArch, dimension: dim, part: "encoder" });
  await source.requireFinite();
  const { beside } = source;
  if (beside.length > 0) onNote?.(`not used of the teacher's checkpoint: ${beside.join(", ")}`);
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

/** The beginning of a fresh run, or where the checkpoint of `--resume` left off. */
async function findStart(options: DistillOptions, batchesPerEpoch: number): Promise<Start> {
  const { resume, seed, dim, queue: size, startEpoch } = options;
  if (resume === null) {
    const small = smallViewsOf(options) && initializeQueue(size, dim, seed, "small queue");
    const queue = { keys: initializeQueue(size, dim, seed), pointer: 0, ...small && { small } };
    return { epoch: startEpoch, batch: 0, queue };
  }
  using file = await openCheckpointFile(resume);
  const saved = readStudentCheckpoint(file);
  const fail = (problem: string) => new CheckpointError(resume, problem);
  if (saved.arch !== options.studentArch) {
    throw fail(
      `holds a ${saved.arch}, but --student-arch is ${options.studentArch}; use --student-arch ${saved.arch}`,
    );
  }
  checkStudent(saved.student, options, fail);
  await requireFiniteStudent(resume, saved);
  const { queue, queuePointer } = saved;
  if (queue === undefined || queuePointer === undefined) {
    throw fail("has no queue, which a run needs to go on");
  }
  if (queue.shape[0] !== dim || queue.shape[1] !== size) {
    throw fail(
      `has a queue of ${queue.shape[1]} keys of ${queue.shape[0]} numbers; use --queue ${
        queue.shape[1]
      } --dim ${queue.shape[0]}`,
    );
  }
  const { smallQueue } = saved;
  const wantsSmall = options.smallViews > 0;
  if (wantsSmall !== (smallQueue !== undefined)) {
    throw fail(
      wantsSmall
        ? "has no queue of small views, but --small-views asks for them; go on without them, or begin anew"
        : "is of a run with small views; use the --small-views and --small-size of that run",
    );
  }
  if (smallQueue !== undefined && smallQueue.shape.join() !== queue.shape.join()) {
    throw fail(`has a queue of small views of [${smallQueue.shape}], but the other is [${queue.shape}]`);
  }
  const small = smallQueue && transpose(await smallQueue.read(), dim, size);
  const batch = checkSameEpoch(saved.resume, options, batchesPerEpoch, fail);
  const [pointer] = await queuePointer.read();
  if (!(Number.isInteger(pointer) && pointer >= 0 && pointer < size)) {
    throw fail(`says that the next key goes to row ${pointer} of a queue of ${size}`);
  }
  return {
    epoch: saved.epoch,
    batch,
    queue: { keys: transpose(await queue.read(), dim, size), pointer, ...small && { small } },
  };
}

/**
 * Where a checkpoint stopped within its epoch, in batches. Then the rest of the epoch must be what it would have been: its
 * order follows from pictures, batch size and seed.
 */
function checkSameEpoch(
  saved: unknown,
  { batchSize, seed }: DistillOptions,
  batchesPerEpoch: number,
  fail: (problem: string) => Error,
): number {
  const state = saved instanceof Map ? saved : new Map<string, unknown>();
  const batch = Number(state.get("batch") ?? 0);
  if (batch === 0) return 0;
  const expectSame = (key: string, now: number, describe: (then: unknown) => string) => {
    const then = state.get(key) ?? now; // checkpoints of before have no batch_size
    if (then !== now) throw fail(`stopped within an epoch of ${describe(then)}`);
  };
  expectSame(
    "batch_size",
    batchSize,
    (then) => `batches of ${then}, and --batch-size is ${batchSize}; resume with --batch-size ${then}`,
  );
  expectSame(
    "seed",
    seed,
    (then) => `a run with --seed ${then}, and --seed is ${seed}; resume with --seed ${then}`,
  );
  expectSame(
    "batches_per_epoch",
    batchesPerEpoch,
    (then) => `${then} batches, and now there are ${batchesPerEpoch}; resume with the same pictures`,
  );
  return batch;
}

/** Names the first keys that differ from the student that the options describe. */
function checkStudent(
  found: ReadonlyMap<string, { shape: readonly number[] }>,
  { studentArch, studentMlp, dim }: DistillOptions,
  fail: (problem: string) => Error,
): void {
  const { state } = summarize(findEncoder(studentArch), {
    kind: studentMlp ? "mlp" : "linear",
    dimension: dim,
  }, 64);
  const differing = state.filter(({ key, kind, shape }) =>
    kind !== "counter" && found.get(key)?.shape.join() !== shape.join()
  ).map(({ key, shape }) =>
    `${key} is ${found.has(key) ? `[${found.get(key)!.shape}]` : "missing"}, not [${shape}]`
  );
  if (differing.length === 0) return;
  const shown = differing.slice(0, 4).join("; ") +
    (differing.length > 4 ? `; and ${differing.length - 4} more` : "");
  throw fail(
    `does not fit the student that the flags describe: ${shown}. Check --student-arch, --student-mlp and --dim`,
  );
}
