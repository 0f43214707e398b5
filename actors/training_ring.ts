/** The ring of actors that trains: how it is wired, and how it goes on after a crash. */
import type augmenter from "./augmenter.ts";
import { nextOf } from "./batch_number.ts";
import { actorUrl } from "./catalog.ts";
import type {
  Augmenter,
  Monitor,
  NamedValues,
  ProgramProfile,
  QueueContents,
  QueueKeeper,
  StudentTrainer,
  TeacherEncoder,
  TsvReader,
} from "./messages.ts";
import { augmentationOf, type DistillOptions, smallViewsOf } from "./options.ts";
import type queueKeeper from "./queue_keeper.ts";
import type { RunIdentity } from "./run_terms.ts";
import type { ActorRef, ActorSystem, Restart, Supervised, Supervisor } from "./runtime/mod.ts";
import type studentTrainer from "./student_trainer.ts";
import type teacherEncoder from "./teacher_encoder.ts";
import type tsvReader from "./tsv_reader.ts";
import { TRAINING_ORDER, type TsvReaderConfig } from "./tsv_reader.ts";

/** Batches that one reader may have on their way: one in each of the stages, so that none has to wait. */
const BATCHES_UNDER_WAY = 6;

/** Where a run begins. */
export interface Start {
  epoch: number;
  batch: number;
  queue: QueueContents;
}

/** What a {@linkcode TrainingRing} is made from. */
export interface TrainingSetup {
  options: DistillOptions;
  start: Start;
  batchesPerEpoch: number;
  totalSteps: number;
  path: string;
  /** What checkpoints say of the run. */
  identity: RunIdentity;
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
export class TrainingRing {
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
        identity: setup.identity,
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
          augmentation: augmentationOf(options),
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
