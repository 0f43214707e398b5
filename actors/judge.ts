/** Judges teacher and student next to training: by kNN, and by what they find alike. */
import { BestEffort } from "./best_effort.ts";
import { type Evaluation, type EvaluationWishes, spawnEvaluation } from "./evaluation.ts";
import { GALLERY, type InsightEvents, Surveyor } from "./insight.ts";
import type { EvaluationResize } from "./evaluation_resize.ts";
import type { Accuracy, EvaluatedEncoder, NamedValues, ReaderMonitor } from "./messages.ts";
import { type DistillOptions, hasGallery } from "./options.ts";
import { type DataFacts, describeRestart, type WarningEvents } from "./recipe.ts";
import type { ActorCrash, ActorRef, ActorSystem } from "./runtime/mod.ts";

/** What a judge tells. */
export interface JudgeEvents extends InsightEvents, WarningEvents {
  /** Somebody was judged by kNN; `step` says for how many steps the student had been trained. */
  onKnn?(report: { of: "teacher" | "student"; step: number } & Accuracy): void;
  /** Something a person should know. */
  onNote?(text: string): void;
}

/** What a judge judges by. */
export interface JudgeSetup {
  options: DistillOptions;
  /** How views are made of pictures. */
  evalResize: EvaluationResize;
  /** The pictures to learn from. */
  train: DataFacts;
  /** The pictures to be judged on, where there are any. */
  test: DataFacts | null;
  batchesPerEpoch: number;
  monitor: ActorRef<ReaderMonitor>;
  events: JudgeEvents;
}

/** What is wanted of one encoder. */
interface Wishes extends EvaluationWishes {
  /** Its accuracy, where that is known already. */
  known?: Accuracy;
}

/** One evaluation at a time, in the order in which they are asked for. */
export class Judge {
  readonly #setup: JudgeSetup;
  readonly #evaluate: (encoder: EvaluatedEncoder, wishes?: EvaluationWishes) => Promise<Evaluation>;
  readonly #surveyor: Surveyor | undefined;
  readonly #effort: BestEffort;
  #epochsUnderWay = 0;
  #hasSaidWhy = false;

  private constructor(system: ActorSystem, setup: JudgeSetup, gallery: DataFacts | undefined) {
    const { options, evalResize, train, test, monitor, events } = setup;
    const { imageSize, maxPixels, tuning, actors, seed, knnK, knnT } = options;
    const onRestart = describeRestart(events);
    this.#setup = setup;
    this.#effort = new BestEffort((text) => events.onWarning?.(text));
    const onGiveUp = (crash: ActorCrash) => void this.#effort.fail("the gallery", crash);
    this.#evaluate = spawnEvaluation(
      system,
      {
        imageSize,
        maxPixels,
        evalResize,
        tuning,
        actors,
        ...test && { knn: { bankData: train.path, queryData: test.path, ks: [knnK], temperature: knnT } },
        gallery: gallery && { data: gallery.path, ...GALLERY, seed },
      },
      monitor,
      { onRestart, onNoGallery: onGiveUp },
    );
    this.#surveyor = gallery &&
      new Surveyor(system, { data: gallery, seed, actors, events, onRestart, onGiveUp });
  }

  /** Spawns the actors that it takes; `undefined` where there is nothing to judge by. */
  static spawn(system: ActorSystem, setup: JudgeSetup): Judge | undefined {
    const { options, train, test } = setup;
    const gallery = hasGallery(options) ? test ?? train : undefined;
    return test === null && gallery === undefined ? undefined : new Judge(system, setup, gallery);
  }

  /**
   * Judges the teacher.
   *
   * @param known its accuracy where that is known already
   * @returns nothing where there are no pictures to be judged on
   */
  async teacher(step: number, known?: Accuracy): Promise<Accuracy | undefined> {
    const { teacherArch: arch, distill: path } = this.#setup.options;
    return await this.#judge("teacher", step, { arch, path }, { known, views: true });
  }

  /** Judges the student as it was after so many steps. @returns nothing where there are no pictures to be judged on */
  async student(step: number, values: NamedValues, wishes: Wishes = {}): Promise<Accuracy | undefined> {
    return await this.#judge("student", step, { arch: this.#setup.options.studentArch, values }, wishes);
  }

  /** What is known is looked up in the gallery alone, where there is one. */
  async #judge(
    of: "teacher" | "student",
    step: number,
    encoder: EvaluatedEncoder,
    { known, ...wishes }: Wishes,
  ): Promise<Accuracy | undefined> {
    if (known === undefined) return await this.#tell(of, step, await this.#evaluate(encoder, wishes));
    if (this.#surveyor !== undefined) {
      await this.#tell(of, step, await this.#evaluate(encoder, { ...wishes, knn: false }));
    }
    return known;
  }

  /** Judges the student after an epoch, from 0: by kNN where that is due, by the gallery as often as it keeps up. */
  async epoch(epoch: number, values: NamedValues): Promise<void> {
    const { options: { knnEvery }, batchesPerEpoch, events } = this.#setup;
    const isKnnDue = knnEvery > 0 && (epoch + 1) % knnEvery === 0;
    if (!isKnnDue && this.#epochsUnderWay > 0) return;
    this.#epochsUnderWay++;
    try {
      const accuracy = await this.student((epoch + 1) * batchesPerEpoch, values, { knn: isKnnDue });
      if (accuracy === undefined) return;
      events.onNote?.(`weighted kNN after epoch ${epoch + 1}: top-1 ${accuracy.top1.toFixed(1)} %`);
    } finally {
      this.#epochsUnderWay--;
    }
  }

  async #tell(
    of: "teacher" | "student",
    step: number,
    { accuracies, noAccuracies, survey }: Evaluation,
  ): Promise<Accuracy | undefined> {
    if (survey !== undefined) {
      await this.#effort.attempt("the gallery", () => this.#surveyor!.report(of, step, survey));
    }
    if (noAccuracies !== undefined && !this.#hasSaidWhy) {
      this.#hasSaidWhy = true;
      this.#setup.events.onNote?.(`no kNN: ${noAccuracies}`);
    }
    if (accuracies === undefined) return undefined;
    this.#setup.events.onKnn?.({ of, step, ...accuracies[0] });
    return accuracies[0];
  }
}
