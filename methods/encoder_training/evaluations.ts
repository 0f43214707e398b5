/** Evaluates teacher and student next to training: by kNN, and by nearest neighbours in a probe set. */
import { countSteps, type StepCount } from "../../actors/batch_number.ts";
import { BestEffort } from "../../actors/best_effort.ts";
import type { DataFacts } from "../../actors/data_facts.ts";
import {
  countProbes,
  type NeighboursReport,
  NeighboursReporter,
  PROBE_SET,
} from "../../actors/diagnostics.ts";
import {
  type Evaluation,
  type EvaluationSettings,
  type EvaluationWishes,
  spawnEvaluation,
} from "../../actors/evaluation.ts";
import type { EvaluationResize } from "../../actors/evaluation_resize.ts";
import type { Emit, Monitor } from "../../actors/events.ts";
import type { ImageCaches } from "../../actors/image_caches.ts";
import type { Accuracy, EvaluatedEncoder, NamedValues } from "../../actors/messages.ts";
import { describeRestart, warnerOf } from "../../actors/notices.ts";
import type { ActorCrash, ActorRef, ActorSystem } from "../../actors/runtime/mod.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import type { CheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { sampleRows } from "../../data/sample_rows.ts";
import type { Normalization } from "../../models/images.ts";
import type { HeldOutRows } from "../held_out.ts";
import { ReadingProgress } from "../reading_progress.ts";
import type { RunIdentity } from "../terms.ts";
import type { EncoderTrainingEvent } from "./events.ts";
import type { EncoderMethod } from "./method.ts";
import { type EncoderTrainingOptions, hasProbeSet, type OnAdapter } from "./options.ts";
import { openAfterEpoch, originalWeights, savedWeights, weightsIn } from "./start.ts";

/** Epochs whose weights are kept in memory until they are evaluated, at most. */
const MOST_IN_MEMORY = 3;

/** The features of all images that vote are on the device. */
const MEMORY_ADVICE = "All features of the kNN evaluation lie there: use a smaller --knn-images";

/** Images to classify. */
export interface ClassifiedImages extends DataFacts {
  /** The rows that vote and those that are classified, where all are training images. */
  heldOut?: HeldOutRows;
  /** The same, where there are more than are wanted. */
  sampled?: Partial<HeldOutRows>;
}

/** Returns how many images vote, and how many are classified; broken ones included. */
export function countVote(
  train: DataFacts,
  { rowCount, heldOut, sampled }: ClassifiedImages,
): { bank: number; queries: number } {
  const { bankRows, queryRows } = { ...heldOut, ...sampled };
  return { bank: bankRows?.length ?? train.rowCount, queries: queryRows?.length ?? rowCount };
}

/** Chooses so many rows at most of those that vote, and of those that are classified. */
export function sampleVote(
  train: DataFacts,
  test: ClassifiedImages,
  { knnImages, seed }: Pick<EncoderTrainingOptions, "knnImages" | "seed">,
): Partial<HeldOutRows> {
  const sample = (rows: Uint32Array<ArrayBuffer> | undefined, count: number) => {
    if (count <= knnImages) return undefined;
    const chosen = sampleRows(count, knnImages, seed);
    return rows === undefined ? chosen : chosen.map((place) => rows[place]);
  };
  const { bank, queries } = countVote(train, test);
  const bankRows = sample(test.heldOut?.bankRows, bank);
  const queryRows = sample(test.heldOut?.queryRows, queries);
  return { ...bankRows && { bankRows }, ...queryRows && { queryRows } };
}

/** What evaluations are made by. */
export interface EvaluationsSetup<Options extends EncoderTrainingOptions> extends StepCount {
  method: EncoderMethod<Options>;
  options: OnAdapter<Options>;
  /** How views are made of images. */
  evalResize: EvaluationResize;
  /** What the trained encoder's pixels are normalised by. */
  normalization: Normalization;
  /** The images to learn from. */
  train: DataFacts;
  /** The images to be classified, where there are any. */
  test: ClassifiedImages | null;
  /** Where decoded images are kept. */
  caches: ImageCaches;
  monitor: ActorRef<Monitor>;
  emit: Emit<EncoderTrainingEvent>;
}

/** An evaluation that is already in the run's records. */
export type KnownAccuracy = { of: "teacher" | "student"; step: number } & Accuracy;

/** What is known of the run before it goes on. */
export interface EvaluatedSoFar {
  identity: RunIdentity;
  /** Its evaluations. */
  accuracies: readonly KnownAccuracy[];
  /** Its `knnEvery`; nothing where it was evaluated otherwise, or not at all. */
  knnEveryBefore: number | undefined;
}

/** The student after an epoch, from 0, whose evaluation had not come when the run ended. */
export interface LostEpoch {
  epoch: number;
  /** Reads its weights; a checkpoint that cannot be read is a note, and no weights. */
  read(): Promise<NamedValues | undefined>;
}

/** What is wanted of one encoder. */
interface Wishes extends EvaluationWishes {
  /** Its accuracy, where that is known already. */
  known?: Accuracy;
  /** Whether it is the trained one as the run began with it. */
  isBeginning?: boolean;
}

/** Evaluates an encoder. */
type Evaluate = (encoder: EvaluatedEncoder, wishes?: EvaluationWishes) => Promise<Evaluation>;

/** One evaluation at a time, in the order in which they are asked for. */
export class Evaluations<Options extends EncoderTrainingOptions> {
  readonly #setup: EvaluationsSetup<Options>;
  readonly #evaluate: Record<"teacher" | "student", Evaluate>;
  readonly #neighboursReporter: NeighboursReporter | undefined;
  readonly #effort: BestEffort;
  /** Images of the probe set; broken ones included. */
  readonly #probeImages: number;
  #epochsUnderWay = 0;
  /** Settles when the newest epoch's evaluation is over. */
  #newest: Promise<void> = Promise.resolve();
  #hasSaidWhy = false;

  private constructor(
    system: ActorSystem,
    setup: EvaluationsSetup<Options>,
    probeSet: DataFacts | undefined,
  ) {
    const { options, evalResize, train, test, caches, monitor, emit } = setup;
    const { imageSize, maxPixels, leastSide, tuning, actors, seed, knnK, knnT, maxRestarts } = options;
    const onRestart = describeRestart(emit);
    this.#setup = setup;
    this.#probeImages = probeSet === undefined ? 0 : countProbes(probeSet.rowCount);
    this.#effort = new BestEffort(warnerOf(emit));
    const onGiveUp = (crash: ActorCrash) => void this.#effort.fail("the probe set", crash);
    const spawn = (own: Pick<EvaluationSettings, "imageSize" | "prefix">) =>
      spawnEvaluation(
        system,
        {
          ...own,
          maxPixels,
          leastSide,
          caches,
          evalResize,
          tuning,
          actors,
          maxRestarts,
          memoryAdvice: MEMORY_ADVICE,
          ...test && {
            knn: {
              bankData: train.path,
              queryData: test.path,
              bankRowCount: train.rowCount,
              queryRowCount: test.rowCount,
              ...test.heldOut,
              ...test.sampled,
              ks: [knnK],
              temperature: knnT,
            },
          },
          probeSet: probeSet &&
            { data: probeSet.path, rowCount: probeSet.rowCount, ...PROBE_SET, seed },
        },
        monitor,
        { onRestart, onNoProbeSet: onGiveUp },
      );
    const student = spawn({ imageSize });
    const { teacherSize } = setup.method.views(options);
    this.#evaluate = {
      student,
      teacher: teacherSize === undefined ? student : spawn({ imageSize: teacherSize, prefix: "teacher_" }),
    };
    this.#neighboursReporter = probeSet &&
      new NeighboursReporter(system, { data: probeSet, seed, actors, emit, onRestart, onGiveUp });
  }

  /** Spawns the actors that it takes; `undefined` where there is nothing to evaluate by. */
  static spawn<Options extends EncoderTrainingOptions>(
    system: ActorSystem,
    setup: EvaluationsSetup<Options>,
  ): Evaluations<Options> | undefined {
    const { options, train, test } = setup;
    const probeSet = hasProbeSet(options) ? test ?? train : undefined;
    return test === null && probeSet === undefined ? undefined : new Evaluations(system, setup, probeSet);
  }

  /**
   * Evaluates the teacher, where there is one.
   *
   * @param known its accuracy where that is known already
   * @returns nothing where there are no images to classify
   */
  async teacher(step: number, known?: Accuracy): Promise<Accuracy | undefined> {
    const { method, options } = this.#setup;
    const teacher = method.teacher(options);
    if (teacher === undefined) return undefined;
    return await this.#evaluateOnce("teacher", step, teacher, { known, views: true });
  }

  /** Evaluates the trained encoder as it was after so many steps. @returns nothing where there are no images to classify */
  async student(step: number, values: NamedValues, wishes: Wishes = {}): Promise<Accuracy | undefined> {
    const { method, options, normalization } = this.#setup;
    const { arch } = method.encoder(options);
    return await this.#evaluateOnce("student", step, { arch, values, normalization }, wishes);
  }

  /** What is known is looked up in the probe set alone, where there is one. */
  async #evaluateOnce(
    of: "teacher" | "student",
    step: number,
    encoder: EvaluatedEncoder,
    { known, isBeginning, ...wishes }: Wishes,
  ): Promise<Accuracy | undefined> {
    const evaluate = async (wishes: EvaluationWishes) => {
      const { train, test, emit } = this.#setup;
      const { bank, queries } = test === null || wishes.knn === false
        ? { bank: 0, queries: 0 }
        : countVote(train, test);
      const total = bank + queries + this.#probeImages;
      const progress = new ReadingProgress({ phase: "evaluation", of, total }, emit);
      const onProgress = (images: number) => progress.reach(images);
      const evaluation = await this.#evaluate[of](encoder, { ...wishes, onProgress });
      progress.end();
      return await this.#tell({ of, step, ...isBeginning && { isBeginning } }, evaluation);
    };
    if (known === undefined) return await evaluate(wishes);
    if (this.#neighboursReporter !== undefined) await evaluate({ ...wishes, knn: false });
    return known;
  }

  /** Whether evaluations are so far behind the epochs that weights should wait in their checkpoints, not in memory. */
  get isBehind(): boolean {
    return this.#epochsUnderWay >= MOST_IN_MEMORY;
  }

  /** Settles when all epochs have been evaluated. */
  get epochs(): Promise<void> {
    return this.#newest;
  }

  /**
   * Evaluates the student after an epoch, from 0: by kNN where that is due, by the probe set as often as it keeps up. One epoch
   * is evaluated after the other.
   *
   * @param weights of the student, or the path of a checkpoint with them or what reads them, when it is their turn
   * @param after what it waits for besides
   */
  async epoch(
    epoch: number,
    weights: NamedValues | string | LostEpoch["read"],
    after?: Promise<unknown>,
  ): Promise<void> {
    const { options: { knnEvery } } = this.#setup;
    const isKnnDue = knnEvery > 0 && (epoch + 1) % knnEvery === 0;
    if (!isKnnDue && this.#epochsUnderWay > 0) return;
    this.#epochsUnderWay++;
    const before = this.#newest;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#newest = promise;
    try {
      await before;
      await after;
      const values = typeof weights === "function"
        ? await weights()
        : typeof weights === "string"
        ? await this.#read(epoch, weights)
        : weights;
      if (values !== undefined) {
        await this.student(this.#stepsBefore(epoch + 1), values, { knn: isKnnDue });
      }
    } finally {
      this.#epochsUnderWay--;
      resolve();
    }
  }

  async #read(epoch: number, path: string): Promise<NamedValues | undefined> {
    try {
      return await savedWeights(this.#setup.method, path);
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      const text =
        `epoch ${epoch} is not evaluated, as evaluations take longer than epochs: ${error.message}`;
      this.#setup.emit({ type: "note", text });
      return undefined;
    }
  }

  /** Steps of the whole run before an epoch. */
  #stepsBefore(epoch: number): number {
    return countSteps(this.#setup, { epoch, batch: 0 });
  }

  /**
   * Evaluates teacher and student as they were at the run's beginning. What its records say is not evaluated again.
   *
   * @param firstStep steps done before this part of the run
   * @param untrained the student's weights, where the run begins now. The teacher is evaluated while the trainer compiles.
   */
  async beginning(
    { origin }: RunIdentity,
    accuracies: readonly KnownAccuracy[],
    firstStep: number,
    untrained: Promise<NamedValues> | undefined,
  ): Promise<{ teacher?: Accuracy; before?: Accuracy }> {
    const { method, options, batchesPerEpoch, test, emit } = this.#setup;
    const step = options.resume === null ? firstStep : (origin?.epoch ?? 0) * batchesPerEpoch;
    const teacher = await this.teacher(step, accuracies.find(({ of }) => of === "teacher"));
    const known = accuracies.find((row) => row.of === "student" && row.step === step);
    const values = await (untrained ?? originalWeights(method.encoder(options), origin));
    if (values !== undefined) {
      // The first encoder that is evaluated shows the probe set's images too.
      const views = method.teacher(options) === undefined;
      const wishes = { known, isBeginning: true, ...views && { views } };
      return { teacher, before: await this.student(step, values, wishes) };
    }
    if (known === undefined && test !== null) {
      const { noun, flags: { init } } = method;
      const text = origin === undefined || init === undefined
        ? `${options.resume} does not record how the run began: the ${noun} before training is not known`
        : `the ${noun} before training is not known: ${init} is not the checkpoint that the run began with, or cannot be read`;
      emit({ type: "note", text });
    }
    return { teacher, before: known };
  }

  /**
   * Finds the epochs before the run goes on whose evaluations had not come when it ended: those behind the newest one that had, as one
   * comes after the other. Of a run of other images or settings, it is the last epoch alone. Their checkpoints are opened before
   * training begins, which may replace or remove them.
   *
   * @param before what is known
   * @param epochs whole ones before the run goes on
   * @param totalSteps of the whole run, whose end is evaluated anyway
   * @param held closes the checkpoints
   */
  async openLostEpochs(
    { identity: { origin }, accuracies, knnEveryBefore }: EvaluatedSoFar,
    epochs: number,
    totalSteps: number,
    held: DisposableStack,
  ): Promise<LostEpoch[]> {
    const { method, options, test, extraSteps = 0, emit } = this.#setup;
    const { knnEvery, resume } = options;
    if (resume === null || test === null) return [];
    const begun = origin?.epoch ?? 0;
    const newest = Math.max(-1, ...accuracies.filter(({ of }) => of === "student").map(({ step }) => step));
    // Steps of earlier epochs of another batch size are not known.
    const first = knnEveryBefore === undefined || extraSteps !== 0 ? epochs : begun + 1;
    const isLost = (done: number) => {
      const step = this.#stepsBefore(done);
      const wasDue = done === epochs || done % knnEveryBefore! === 0;
      return wasDue && done % knnEvery === 0 && step > newest && step < totalSteps;
    };
    const lost: LostEpoch[] = [];
    const gone: number[] = [];
    for (let done = Math.max(first, begun + 1); done <= epochs; done++) {
      if (!isLost(done)) continue;
      const epoch = done - 1;
      const file = await openAfterEpoch(method, { ...options, resume }, epoch);
      if (file === undefined) gone.push(epoch);
      else lost.push({ epoch, read: () => this.#readLost(epoch, file) });
      held.use(file);
    }
    if (gone.length > 0) {
      const [epochs, left] = gone.length === 1
        ? [`epoch ${gone[0]}`, "no checkpoint of that epoch's end is left"]
        : [`epochs ${gone.join(", ")}`, "no checkpoints of their ends are left"];
      emit({ type: "note", text: `the ${method.noun} after ${epochs} is not evaluated: ${left}` });
    }
    return lost;
  }

  async #readLost(epoch: number, file: CheckpointFile): Promise<NamedValues | undefined> {
    const { method, emit } = this.#setup;
    try {
      return await weightsIn(method, file);
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      emit({
        type: "note",
        text: `the ${method.noun} after epoch ${epoch} is not evaluated: ${error.message}`,
      });
      return undefined;
    }
  }

  async #tell(
    evaluated: Pick<NeighboursReport, "of" | "step" | "isBeginning">,
    { accuracies, noAccuracies, neighbours }: Evaluation,
  ): Promise<Accuracy | undefined> {
    if (neighbours !== undefined) {
      await this.#effort.attempt(
        "the probe set",
        () => this.#neighboursReporter!.report(evaluated, neighbours),
      );
    }
    if (noAccuracies !== undefined && !this.#hasSaidWhy) {
      this.#hasSaidWhy = true;
      this.#setup.emit({ type: "note", text: `no kNN: ${noAccuracies}` });
    }
    if (accuracies === undefined) return undefined;
    const { of, step } = evaluated;
    this.#setup.emit({ type: "knn", of, step, ...accuracies[0] });
    return accuracies[0];
  }
}
