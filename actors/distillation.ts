/**
 * The recipe of a distillation: which actors there are, how they are wired, and what is asked of them in which order.
 *
 *     tsv_reader x workers -> augmenter -> teacher_encoder -> queue_keeper -> student_trainer
 *     bank_reader, query_reader, gallery_reader -> evaluation_augmenter -> evaluator
 *     cartographer
 */
import { resolveDataset } from "../data/open_dataset.ts";
import { EpochOrder } from "../data/sampler.ts";
import { UserError } from "../errors.ts";
import { describeAdapter } from "../kernels/gpu.ts";
import type { LossScale } from "../kernels/ops/loss_scale/loss_scale.ts";
import { CheckpointError } from "../models/checkpoint/checkpoint_error.ts";
import { readStudentCheckpoint } from "../models/checkpoint/student_checkpoint.ts";
import { openCheckpointFile } from "../models/checkpoint/checkpoint_file.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import { initializeQueue } from "../models/initialize.ts";
import { findEncoder, summarize } from "../models/registry.ts";
import type augmenter from "./augmenter.ts";
import { actorUrl } from "./catalog.ts";
import { type Evaluation, type EvaluationWishes, spawnEvaluation } from "./evaluation.ts";
import { GALLERY, type InsightEvents, LookClock, Surveyor } from "./insight.ts";
import { nextOf } from "./batch_number.ts";
import type {
  Accuracy,
  Augmenter,
  EvaluatedEncoder,
  Monitor,
  NamedValues,
  ProgramProfile,
  QueueContents,
  QueueKeeper,
  StudentTrainer,
  TeacherEncoder,
  TrainingLook,
  TsvReader,
  ViewSample,
} from "./messages.ts";
import { type DistillOptions, smallViewsOf } from "./options.ts";
import type queueKeeper from "./queue_keeper.ts";
import {
  abortable,
  brokenRowHandler,
  checkSameClasses,
  type DataFacts,
  describeRestart,
  lookAtData,
  warningHandler,
  watchdogOf,
  whenAborted,
} from "./recipe.ts";
import { ProfileCollector, type RunProfile } from "./run_profile.ts";
import {
  type ActorRef,
  ActorSystem,
  type Restart,
  type Supervised,
  type Supervisor,
  type TraceSpan,
} from "./runtime/mod.ts";
import { transpose } from "./student_trainer.ts";
import { openStudentInit } from "./student_init.ts";
import type studentTrainer from "./student_trainer.ts";
import type teacherEncoder from "./teacher_encoder.ts";
import type tsvReader from "./tsv_reader.ts";
import { TRAINING_ORDER, type TsvReaderConfig } from "./tsv_reader.ts";

/** Batches that one reader may have on their way: one in each of the stages, so that none has to wait. */
const BATCHES_UNDER_WAY = 6;

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

/** The run that was to be gone on with has come to its end. */
export class NothingToDoError extends UserError {
  /** What a program tells the kind of error by. */
  override name = "NothingToDoError";
}

/** What a distillation tells while it runs. */
export interface DistillEvents extends InsightEvents {
  /** The files are open and fit each other; actors start now. */
  onPlan?(plan: DistillPlan): void;
  /** The actors are spawned. They are the run's own: whoever gets them may ask them for their `stats()`. */
  onActors?(actors: ActorSystem["actors"]): void;
  /** A step is done. */
  onStep?(report: DistillStep): void;
  /** Some views of the first batch are there to be looked at; small ones come by themselves. */
  onViews?(views: ViewSample): void;
  /** Somebody was judged by kNN; `step` says for how many steps the student had been trained. */
  onKnn?(report: { of: "teacher" | "student"; step: number } & Accuracy): void;
  /** A look into a step; its `step` is from 1. */
  onLook?(look: TrainingLook & { step: number }): void;
  /** What an actor did, some of it at a time. */
  onTrace?(actor: string, spans: readonly TraceSpan[]): void;
  /** Where the time went, when all actors have ended; they are only traced where somebody wants to know. */
  onProfile?(profile: RunProfile): void;
  /** Something a person should know. */
  onNote?(text: string): void;
  /** Something is not as expected, and the run goes on. */
  onWarning?(text: string): void;
}

/** Where a run begins. */
interface Start {
  epoch: number;
  batch: number;
  queue: QueueContents;
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
  const { epochs, batchSize, seed, limitSteps } = options;
  if (options.amp) await checkHalf();
  const pictures = await findPictures(options, events);
  const { path: trainPath } = pictures;
  const testData = await findTestData(pictures, options, events);
  const { rowCount: rows } = pictures;
  const { batchCount: batchesPerEpoch } = new EpochOrder(rows, seed, 0, batchSize, { shuffle: false });
  await checkTeacher(options, events);
  if (options.studentInit !== null && options.resume === null) await checkStudentInit(options, events);
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
    let stepsReported = firstStep;
    let epochsJudged = start.epoch;
    let epochsUnderWay = 0;
    const lookClock = new LookClock();
    let trained = Promise.withResolvers<void>();
    const endsWithEpoch = totalSteps % batchesPerEpoch === 0;
    const judgeEpoch = async (epoch: number, values: NamedValues) => {
      const isKnnDue = options.knnEvery > 0 && (epoch + 1) % options.knnEvery === 0;
      // Where the evaluation does not keep up with the epochs, it looks at fewer of them.
      if (!isKnnDue && epochsUnderWay > 0) return;
      epochsUnderWay++;
      const accuracy = await judgeStudent?.((epoch + 1) * batchesPerEpoch, values, { knn: isKnnDue });
      epochsUnderWay--;
      if (accuracy === undefined) return;
      events.onNote?.(`weighted kNN after epoch ${epoch + 1}: top-1 ${accuracy.top1.toFixed(1)} %`);
    };
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
      saved({ epoch, endsEpoch, path, weights }) {
        checkpoint = path;
        events.onNote?.(`checkpoint saved to ${path}`);
        if (!endsEpoch) return;
        if ((epoch + 1) * batchesPerEpoch === totalSteps) trained.resolve();
        else if (weights !== undefined && epoch >= epochsJudged) {
          epochsJudged = epoch + 1;
          judgeEpoch(epoch, weights).catch(() => {}); // the system says why
        }
      },
      views(views) {
        // An augmenter that is started again has a first batch of its own.
        if (stepsReported === firstStep) events.onViews?.(views);
      },
      look(look) {
        events.onLook?.({ ...look, step: look.epoch * batchesPerEpoch + look.batch + 1 });
      },
      warning: warningHandler(events),
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
    const gallery = options.insight && options.pictures === undefined ? testData ?? pictures : undefined;
    const knn = testData === null ? undefined : {
      bankData: trainPath,
      queryData: testData.path,
      ks: [options.knnK],
      temperature: options.knnT,
    };
    const evaluate = knn === undefined && gallery === undefined ? undefined : spawnEvaluation(
      system,
      {
        imageSize: options.imageSize,
        maxPixels: options.maxPixels,
        tuning: options.tuning,
        actors: options.actors,
        knn,
        gallery: gallery && { data: gallery.path, ...GALLERY, seed: options.seed },
      },
      monitor,
      describeRestart(events),
    );
    const surveyor = gallery && new Surveyor(system, {
      data: gallery,
      seed: options.seed,
      actors: options.actors,
      events,
      onRestart: describeRestart(events),
    });
    const tell = async (of: "teacher" | "student", step: number, { accuracies, survey }: Evaluation) => {
      if (survey !== undefined) await surveyor!.report(of, step, survey);
      if (accuracies !== undefined) events.onKnn?.({ of, step, ...accuracies[0] });
      return accuracies?.[0];
    };
    const judgeStudent = evaluate &&
      (async (step: number, values: NamedValues, wishes?: EvaluationWishes) =>
        await tell("student", step, await evaluate({ arch: options.studentArch, values }, wishes)));
    const judgeTeacher = evaluate && (async () => {
      const teacher: EvaluatedEncoder = { arch: options.teacherArch, path: options.distill };
      return await tell("teacher", firstStep, await evaluate(teacher, { views: true }));
    });
    events.onActors?.(system.actors);
    const untrained = evaluate && ring.weights();
    // Next to training, not before it.
    const before = evaluate && (async () => {
      const values = await untrained!;
      const teacher = await judgeTeacher!();
      return { teacher, before: await judgeStudent!(firstStep, values) };
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
    if (!finished || !endsWithEpoch) {
      checkpoint = await ring.save(finished ? end : undefined);
      events.onNote?.(`checkpoint saved to ${checkpoint}`);
    }
    if (!finished) throw signal!.reason;

    if (knn !== undefined) events.onNote?.("trained; classifying the test pictures by weighted kNN");
    const judged = await abortable(signal, async () => {
      const after = await judgeStudent?.(totalSteps, await ring.weights(end));
      const accuracies = await before;
      if (after === undefined) return null;
      return { teacher: accuracies!.teacher!, before: accuracies!.before!, after };
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
      knn: judged,
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
  if (!pictures.hasLabels) {
    events.onNote?.(`no kNN: ${pictures.path} has no classes`);
    return null;
  }
  const facts = await lookAtData(testData, events);
  checkSameClasses(pictures, facts);
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
  const others = [...new Set(source.beside.map((key) => key.split(".")[0]))];
  if (others.length > 0) onNote?.(`not used of the teacher's checkpoint: ${others.join(", ")}`);
}

/** Fails where the student cannot start from that checkpoint, and says what of it is taken. */
async function checkStudentInit(options: DistillOptions, { onNote }: DistillEvents): Promise<void> {
  using init = await openStudentInit(options);
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
  const state = saved.resume instanceof Map ? saved.resume : new Map();
  const batch = Number(state.get("batch") ?? 0);
  if (batch > 0 && state.get("batches_per_epoch") !== batchesPerEpoch) {
    throw fail(
      `stopped within an epoch of ${
        state.get("batches_per_epoch")
      } batches, but now there are ${batchesPerEpoch}; ` +
        "resume with the same pictures and batch size",
    );
  }
  return {
    epoch: saved.epoch,
    batch,
    queue: {
      keys: transpose(await queue.read(), dim, size),
      pointer: (await queuePointer.read())[0],
      ...small && { small },
    },
  };
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

/** Whose augmentation it is, as the original chooses it: by the teacher, and in main_small-patch.py always SWAV's. */
function usualAugmentation({ teacherSsl, studentMlp, smallViews }: DistillOptions) {
  if (smallViews > 0 || teacherSsl === "swav") return "swav";
  if (teacherSsl === "simclr") return "simclr";
  return studentMlp ? "mocov2" : "mocov1";
}

/** What a {@linkcode TrainingRing} is made from. */
interface TrainingSetup {
  options: DistillOptions;
  start: Start;
  batchesPerEpoch: number;
  totalSteps: number;
  path: string;
  monitor: ActorRef<Monitor>;
  /** Actors are about to be started again. */
  onRestart(restart: Restart): void;
  /** Where a trainer that is started again has to go back to: the newest checkpoint. */
  returnTo(): Promise<{ resume: string | null; start: Start }>;
}

/** Within which time restarts are counted. */
const RESTARTS_WITHIN_MS = 10 * 60_000;

/** Asks that take as long as they take. */
const PATIENCE = { timeoutMs: Infinity };

/**
 * The ring that trains. It is wired from its end, and whoever crashes is started again with those that send to it: a
 * reader or the augmenter with each other, the teacher or the queue with those too. They begin after the newest batch that
 * the trainer has, and what comes to somebody a second time is passed on and dropped. A trainer that crashes goes back to
 * the newest checkpoint, with all others. Either way the weights are those of a run without a crash, to the bit.
 */
class TrainingRing {
  readonly #setup: TrainingSetup;
  readonly #supervisor: Supervisor;
  readonly #trainer: Supervised<StudentTrainer>;
  readonly #keeper: Supervised<QueueKeeper>;
  readonly #teacher: Supervised<TeacherEncoder>;
  readonly #augmenter: Supervised<Augmenter>;
  readonly #readers: Supervised<TsvReader>[];
  /** What those that are started next begin with. */
  #start: Start;
  #resume: string | null;
  #hasBegun = false;
  #isWired = false;

  constructor(system: ActorSystem, setup: TrainingSetup) {
    this.#setup = setup;
    this.#start = setup.start;
    const { options, monitor, batchesPerEpoch, path } = setup;
    this.#resume = options.resume;
    const { workers, batchSize, imageSize, dim, seed } = options;
    const small = smallViewsOf(options);
    const limits = { maxRestarts: options.maxRestarts, withinMs: RESTARTS_WITHIN_MS };
    this.#supervisor = system.supervise({
      strategy: "rest-for-one",
      ...limits,
      prepare: (restart) => this.#prepare(restart),
      resume: () => this.#wire(),
    });
    this.#trainer = this.#supervisor.spawn<typeof studentTrainer>(
      "student_trainer",
      actorUrl("student_trainer", options.actors),
      () => ({
        options: { ...options, resume: this.#resume },
        queue: this.#start.queue,
        done: { epoch: this.#start.epoch, batch: this.#start.batch },
        batchesPerEpoch,
        monitor,
      }),
    );
    this.#keeper = this.#supervisor.spawn<typeof queueKeeper>(
      "queue_keeper",
      actorUrl("queue_keeper", options.actors),
      () => ({
        size: options.queue,
        dimension: dim,
        contents: this.#start.queue,
        after: { epoch: this.#start.epoch, batch: this.#start.batch - 1 },
        next: this.#trainer.ref,
      }),
    );
    this.#teacher = this.#supervisor.spawn<typeof teacherEncoder>(
      "teacher_encoder",
      actorUrl("teacher_encoder", options.actors),
      () => ({
        arch: options.teacherArch,
        path: options.distill,
        dimension: dim,
        batchSize,
        imageSize,
        small,
        mixedPrecision: options.amp,
        tuning: options.tuning,
        next: this.#keeper.ref,
      }),
    );
    const input = this.#supervisor.supervise({ strategy: "one-for-all", ...limits });
    this.#augmenter = input.spawn<typeof augmenter>(
      "augmenter",
      actorUrl("augmenter", options.actors),
      () => ({
        batchSize,
        imageSize,
        views: {
          kind: "training",
          augmentation: options.augmentation ?? usualAugmentation(options),
          seed,
          first: { epoch: this.#start.epoch, batch: this.#start.batch },
        },
        small,
        viewer: monitor,
        next: this.#teacher.ref,
      }),
    );
    this.#readers = Array.from({ length: workers }, (_, worker) =>
      input.spawn<typeof tsvReader>(
        workers === 1 ? "tsv_reader" : `tsv_reader ${worker}`,
        actorUrl("tsv_reader", options.actors),
        (): TsvReaderConfig => ({
          path,
          purpose: "train",
          order: TRAINING_ORDER,
          worker,
          workers,
          seed,
          batchSize,
          maxPixels: options.maxPixels,
          viewBytes: batchSize * imageSize * imageSize * 4,
          embeddingBytes: batchSize * dim * 4,
          ...small && {
            small: {
              viewBytes: batchSize * small.views * small.imageSize ** 2 * 4,
              embeddingBytes: batchSize * small.views * dim * 4,
            },
          },
          batchesUnderWay: BATCHES_UNDER_WAY,
          monitor,
        }),
      ));
    this.#wire().catch(() => {}); // the system says why
  }

  /** Lets the batches come. */
  begin(): void {
    this.#hasBegun = true;
    if (this.#isWired) this.#read();
  }

  /** The student's parameters and running statistics. */
  weights(when: () => Promise<void> = () => Promise.resolve()): Promise<NamedValues> {
    return this.#supervisor.retry(async () => {
      await when();
      return await this.#trainer.ref.ask("weights", undefined, PATIENCE);
    });
  }

  /** Asks for a look into the next step. */
  look(): void {
    this.#trainer.ref.tell("look").catch(() => {}); // its next life is asked again
  }

  /** Writes a checkpoint of where training is, and says where. */
  save(when: () => Promise<void> = () => Promise.resolve()): Promise<string> {
    return this.#supervisor.retry(async () => {
      await when();
      return (await this.#trainer.ref.ask("save", undefined, PATIENCE)).path;
    });
  }

  /** How long each kernel takes; nothing may be under way. */
  async profile(): Promise<[actor: string, profiles: ProgramProfile[]][]> {
    const actors = [this.#augmenter, this.#teacher, this.#trainer];
    const found: [string, ProgramProfile[]][] = [];
    for (const { name, ref } of actors) found.push([name, await ref.ask("profile", undefined, PATIENCE)]);
    return found;
  }

  async #prepare(restart: Restart): Promise<void> {
    this.#setup.onRestart(restart);
    this.#isWired = false;
    if (restart.actors.includes(this.#trainer.name)) {
      const { resume, start } = await this.#setup.returnTo();
      this.#resume = resume;
      this.#start = start;
    } else {
      const { newest, queue } = await this.#trainer.ref.ask("standing", undefined, PATIENCE);
      this.#start = { ...nextOf(newest, this.#setup.batchesPerEpoch), queue };
    }
  }

  async #wire(): Promise<void> {
    const readers = this.#readers.map(({ ref }) => ref);
    await Promise.all([
      this.#trainer.ref.tell("connect", { readers }),
      ...readers.map((reader) => reader.tell("connect", { augmenter: this.#augmenter.ref })),
    ]);
    this.#isWired = true;
    if (this.#hasBegun) this.#read();
  }

  /** The readers of one epoch after the other; each stays as far ahead as its buffers allow. */
  #read(): void {
    const { batchesPerEpoch, totalSteps } = this.#setup;
    const start = this.#start;
    for (const { ref } of this.#readers) {
      (async () => {
        for (let epoch = start.epoch; epoch * batchesPerEpoch < totalSteps; epoch++) {
          const firstBatch = epoch === start.epoch ? start.batch : 0;
          const endBatch = Math.min(batchesPerEpoch, totalSteps - epoch * batchesPerEpoch);
          await ref.ask("read", { epoch, firstBatch, endBatch }, PATIENCE);
        }
      })().catch(() => {}); // its next life reads on, or the system says why
    }
  }
}
