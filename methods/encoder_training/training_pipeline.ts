/** The pipeline that trains: how it is wired, and how it goes on after a crash. */
import { countSteps, nextOf } from "../../actors/batch_number.ts";
import type { Monitor } from "../../actors/events.ts";
import type { ImageCaches } from "../../actors/image_caches.ts";
import type { NamedValues, Profiled, ProgramProfile } from "../../actors/messages.ts";
import { RESTARTS_WITHIN_MS } from "../../actors/evaluation.ts";
import { PATIENCE, Pipeline } from "../../actors/pipeline.ts";
import type { ActorRef, ActorSystem, Restart, Supervised, Supervisor } from "../../actors/runtime/mod.ts";
import { TRAINING_ORDER } from "../../actors/tsv_reader.ts";
import { rowsOf, shareOf } from "../../actors/ranks/ranks.ts";
import { UserError } from "../../errors.ts";
import type { Normalization } from "../../models/images.ts";
import type { RunIdentity } from "../terms.ts";
import type { RankOfTraining } from "./encoder_trainer.ts";
import type { TrainerEvent } from "./events.ts";
import type { QueueContents, SavedTraining } from "./messages.ts";
import type { EncoderMethod, Line } from "./method.ts";
import type { EncoderTrainingOptions, OnAdapter } from "./options.ts";

/** Name of the readers. */
const SOURCE = "tsv_reader";

/** Where a run begins. */
export interface Start {
  epoch: number;
  batch: number;
  /** See `StepCount`. */
  extraSteps?: number;
  queue: QueueContents;
}

/** What a {@linkcode TrainingPipeline} is made from. */
export interface TrainingSetup<Options extends EncoderTrainingOptions> {
  method: EncoderMethod<Options>;
  options: OnAdapter<Options>;
  start: Start;
  batchesPerEpoch: number;
  totalSteps: number;
  path: string;
  /** Of the images. */
  rowCount: number;
  /** Where decoded images are kept. */
  caches: ImageCaches;
  /** What the trained encoder's pixels are normalised by. */
  normalization: Normalization;
  /** What checkpoints say of the run. */
  identity: RunIdentity;
  /** This process's part in a run of several. */
  ranks?: RankOfTraining;
  monitor: ActorRef<Monitor<TrainerEvent>>;
  /** Actors are about to be started again. */
  onRestart(restart: Restart): void;
  /** How far training is, in steps; larger than at an earlier crash where there was progress since. */
  progress(goesBack: boolean): number;
  /** Where a trainer that is started again has to go back to: the newest checkpoint. */
  returnTo(): Promise<{ resume: string | null; start: Start }>;
}

/** Of several ranks one alone cannot go back to a checkpoint. */
const CANNOT_GO_BACK =
  "the trainer of this rank crashed, and the other ranks are ahead of the newest checkpoint. All ranks end; start them again with " +
  "--resume auto";

/**
 * The actors that train. They are spawned from the end, and whoever crashes is started again with those that send to it: a
 * reader or the augmenter with each other, those between augmenter and trainer with those too. They begin after the newest batch that
 * the trainer has, and what comes to somebody a second time is passed on and dropped. A trainer that crashes goes back to
 * the newest checkpoint, with all others. Either way the weights are those of a run without a crash, to the bit.
 */
export class TrainingPipeline<Options extends EncoderTrainingOptions> {
  readonly #setup: TrainingSetup<Options>;
  readonly #supervisor: Supervisor;
  readonly #line: Line;
  readonly #pipeline: Pipeline;
  /** What those that are started next begin with. */
  #start: Start;
  #resume: string | null;
  #hasBegun = false;
  #isWired = false;

  constructor(system: ActorSystem, setup: TrainingSetup<Options>) {
    this.#setup = setup;
    this.#start = setup.start;
    const { method, options, monitor, batchesPerEpoch, path, rowCount, caches, identity, ranks } = setup;
    this.#resume = options.resume;
    const { imageSize, seed, actors } = options;
    const batchSize = rowsOf(options.batchSize, ranks);
    const { augmentation, mixup, teacherSize, local, embeddingLength, mapLength } = method.views(options);
    this.#supervisor = system.supervise({
      strategy: "rest-for-one",
      maxRestarts: options.maxRestarts,
      withinMs: RESTARTS_WITHIN_MS,
      progress: ({ actor }) => setup.progress(actor === this.#line.trainer.name),
      prepare: (restart) => this.#prepare(restart),
      resume: () => this.#wire(),
    });
    this.#line = method.spawn({
      supervisor: this.#supervisor,
      options,
      batch: batchSize,
      trainer: () => ({
        options: { ...options, resume: this.#resume },
        queue: this.#start.queue,
        done: this.#position(),
        batchesPerEpoch,
        extraSteps: setup.start.extraSteps,
        normalization: setup.normalization,
        identity,
        ranks,
        monitor,
      }),
      queue: () => this.#start.queue,
      done: () => this.#position(),
    });
    this.#pipeline = new Pipeline(
      this.#supervisor.supervise({ strategy: "one-for-all" }),
      {
        batchSize,
        imageSize,
        teacherSize,
        local,
        embeddingLength,
        mapLength,
        stages: method.stages,
        maxPixels: options.maxPixels,
        leastSide: options.leastSide,
        caches,
        actors,
        monitor,
      },
      [{
        name: "augmenter",
        views: () => ({
          kind: "training",
          augmentation,
          mixup,
          rank: ranks?.rank,
          seed,
          first: this.#position(),
        }),
        viewer: monitor,
        sources: [
          {
            ...{ name: SOURCE, path, rowCount, purpose: "train", order: TRAINING_ORDER, seed },
            ...{ share: shareOf(ranks), workers: options.workers },
          },
        ],
      }],
      () => this.#line.entry(),
    );
    this.#wire().catch(() => {}); // the system says why
  }

  /** The first batch to come. */
  #position(): { epoch: number; batch: number } {
    return { epoch: this.#start.epoch, batch: this.#start.batch };
  }

  /** Lets the batches come. */
  begin(): void {
    this.#hasBegun = true;
    if (this.#isWired) this.#read();
  }

  /** The trained encoder's parameters and running statistics. */
  weights(when: () => Promise<void> = () => Promise.resolve()): Promise<NamedValues> {
    return this.#supervisor.retry(async () => {
      await when();
      return await this.#line.trainer.ref.ask("weights", undefined, PATIENCE);
    });
  }

  /** Asks for a snapshot of the next step. */
  requestSnapshot(): void {
    this.#line.trainer.ref.tell("requestSnapshot").catch(() => {}); // its next incarnation is asked again
  }

  /**
   * Writes a checkpoint of where training is, and says where, and after how many steps.
   */
  save(when: () => Promise<void> = () => Promise.resolve()): Promise<SavedTraining> {
    return this.#supervisor.retry(async () => {
      await when();
      return await this.#line.trainer.ref.ask("save", { ends: true }, PATIENCE);
    });
  }

  /** How long each kernel takes; nothing may be under way. */
  async profile(): Promise<[actor: string, profiles: ProgramProfile[]][]> {
    const actors: Pick<Supervised<Profiled>, "name" | "ref">[] = [
      ...this.#pipeline.augmenters,
      ...this.#line.profiled,
      this.#line.trainer,
    ];
    const found: [string, ProgramProfile[]][] = [];
    for (const { name, ref } of actors) found.push([name, await ref.ask("profile", undefined, PATIENCE)]);
    return found;
  }

  async #prepare(restart: Restart): Promise<void> {
    this.#setup.onRestart(restart);
    this.#isWired = false;
    if (restart.actors.includes(this.#line.trainer.name)) {
      if (this.#setup.ranks !== undefined) throw new UserError(CANNOT_GO_BACK);
      const { resume, start } = await this.#setup.returnTo();
      this.#resume = resume;
      this.#start = start;
      return;
    }
    const { newest, queuePointer } = await this.#line.trainer.ref.ask("progress", undefined, PATIENCE);
    // The keys are in the trainer, which goes on; a later one begins with those of a checkpoint.
    const queue = { ...this.#start.queue, pointer: queuePointer };
    this.#start = { ...nextOf(newest, this.#setup.batchesPerEpoch), queue };
  }

  async #wire(): Promise<void> {
    await this.#pipeline.connect(this.#line.trainer.ref);
    this.#isWired = true;
    if (this.#hasBegun) this.#read();
  }

  /** Reads one epoch after the other; the readers stay as far ahead as their buffers allow. */
  #read(): void {
    const { batchesPerEpoch, totalSteps, start: { extraSteps } } = this.#setup;
    const start = this.#start;
    this.#pipeline.readEpochs(SOURCE, (epoch) => {
      const left = totalSteps - countSteps({ batchesPerEpoch, extraSteps }, { epoch, batch: 0 });
      return left <= 0 ? undefined : {
        epoch,
        firstBatch: epoch === start.epoch ? start.batch : 0,
        endBatch: Math.min(batchesPerEpoch, left),
      };
    }, start.epoch);
  }
}
