/** A run on labelled images: epochs of training, each with a test behind it. */
import type { ActorsEvent, CheckpointEvent, Emit, WarningEvent } from "../actors/events.ts";
import type { ImageCaches } from "../actors/image_caches.ts";
import type { Returning } from "../actors/messages.ts";
import { describeRestart } from "../actors/notices.ts";
import type { Pipeline } from "../actors/pipeline.ts";
import type { RankSettings } from "../actors/ranks/ranks.ts";
import {
  ActorStopped,
  type ActorSystem,
  type Protocol,
  type Supervised,
  type Supervisor,
} from "../actors/runtime/mod.ts";
import { TrainingRun, type TrainingRunOptions } from "../actors/training_run.ts";
import { findEncoder } from "../models/registry.ts";
import type { PreparedLabels } from "./labelled_data.ts";
import type { LinearPlan } from "./linear_probe/events.ts";

/** Checkpoints are written at an epoch's end, but no more often than this. */
const SECONDS_BETWEEN_CHECKPOINTS = 60;

/** What a {@linkcode LabelledRun} is made from. */
export interface LabelledRunOptions<Trainer extends Protocol<Trainer> & Returning>
  extends Omit<TrainingRunOptions, "emit" | "keep"> {
  emit: Emit<WarningEvent | ActorsEvent | CheckpointEvent>;
  /** The part of this process, where several share the images: the first one alone writes files, and removes them. */
  ranks: RankSettings | undefined;
  /** Has all begin again where the newest checkpoint left off, before actors are started again. */
  goBack(): Promise<void>;
  /** The last step that was told of. */
  progress(): number;
  /**
   * Spawns the actors.
   *
   * @param resume returns the checkpoint that those that are started next go on with
   */
  spawn(
    supervisor: Supervisor,
    resume: () => string | null,
  ): { trainer: Supervised<Trainer>; pipeline: Pipeline };
}

/** A run's actors, and how it ends. All are started again when one crashes. */
export class LabelledRun<Trainer extends Protocol<Trainer> & Returning> {
  readonly training: TrainingRun;
  readonly trainer: Supervised<Trainer>;
  readonly pipeline: Pipeline;
  readonly #system: ActorSystem;
  readonly #supervisor: Supervisor;
  readonly #options: LabelledRunOptions<Trainer>;
  /** Whether the actors know each other. */
  #isConnected = false;
  /** Rejects when the actors of now have stopped, to be started again. */
  #restarted = Promise.withResolvers<never>();

  constructor(system: ActorSystem, options: LabelledRunOptions<Trainer>) {
    this.#system = system;
    this.#options = options;
    // The newest alone is kept beside the best one, since each holds the whole backbone.
    this.training = new TrainingRun({
      ...options,
      keep: (options.ranks?.rank ?? 0) === 0 ? 1 : 0,
      // At the end nothing goes on from there: after a crash it is what the newest checkpoint has.
      save: (how) => how.ends ? this.#supervisor.retry(() => options.save(how)) : options.save(how),
    });
    const tellRestart = describeRestart(options.emit);
    this.#supervisor = system.supervise({
      strategy: "one-for-all",
      progress: () => options.progress(),
      prepare: async (restart) => {
        this.#isConnected = false;
        this.#restarted.promise.catch(() => {});
        this.#restarted.reject(new ActorStopped(restart.actors[0]));
        this.#restarted = Promise.withResolvers();
        tellRestart(restart);
        await options.goBack();
      },
      resume: () => this.#connect(),
    });
    ({ trainer: this.trainer, pipeline: this.pipeline } = options.spawn(this.#supervisor, () => this.resume));
  }

  /** The checkpoint that those that are started next go on with. */
  get resume(): string | null {
    return this.training.checkpoint ?? this.#options.resume;
  }

  async #connect(): Promise<void> {
    this.#options.emit({ type: "actors", actors: this.#system.actors });
    await this.pipeline.connect(this.trainer.ref);
    this.#isConnected = true;
  }

  /**
   * Does the work, again after each crash; see {@linkcode TrainingRun.untilStopped}.
   *
   * @param over resolves with the reason where training makes no sense any more
   */
  async do(work: () => Promise<void>, over?: Promise<unknown>): Promise<void> {
    await this.training.untilStopped(async () => {
      // One that crashes while it starts is started again too, and connected by the restart.
      await this.#supervisor.retry(async () => {
        if (!this.#isConnected) await this.#connect();
      });
      await this.#supervisor.retry(work);
    }, over);
  }

  /**
   * Waits for what no actor answers.
   *
   * @throws {ActorStopped} where the actors are started again meanwhile: whoever waits goes on with them from the beginning
   */
  async whileUp<T>(other: Promise<T>): Promise<T> {
    return await Promise.race([other, this.#restarted.promise]);
  }

  /** Trains epochs one by one. A checkpoint is saved after the last, and after others where the newest is a minute old. */
  async trainEpochs(first: number, end: number, train: (epoch: number) => Promise<void>): Promise<void> {
    let savedAt = performance.now();
    for (let epoch = first; epoch < end; epoch++) {
      await train(epoch);
      const isDue = performance.now() - savedAt >= 1000 * SECONDS_BETWEEN_CHECKPOINTS;
      if (epoch < end - 1 && !isDue) continue;
      await this.whileUp(this.training.save());
      savedAt = performance.now();
    }
  }
}

/** Returns what is known of a run before its first step. */
export function planOf(
  { options: { arch, evalResize }, data: { rows, trainImages, test }, classes }: PreparedLabels<
    { arch: string }
  >,
  { batchesPerEpoch, extraSteps = 0, firstEpoch, caches, notes }:
    & Pick<LinearPlan, "batchesPerEpoch" | "extraSteps" | "firstEpoch" | "notes">
    & { caches: ImageCaches },
): LinearPlan {
  return {
    trainImages,
    ...rows && { rows: [...rows] },
    testImages: test.rowCount,
    classes,
    features: findEncoder(arch).features,
    batchesPerEpoch,
    ...extraSteps !== 0 && { extraSteps },
    firstEpoch,
    evalResize,
    cache: caches.description,
    notes,
  };
}
