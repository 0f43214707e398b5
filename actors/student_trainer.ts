/** Trains the student, tells how it goes, and writes checkpoints. */
import { join } from "node:path";
import { FolderIdentity } from "../data/folder_identity.ts";
import { UserError } from "../errors.ts";
import { openGpu } from "../kernels/gpu.ts";
import {
  FIXED_SCALE,
  GRAD_SCALER,
  INITIAL_LOSS_SCALE,
  type LossScale,
} from "../kernels/ops/loss_scale/loss_scale.ts";
import { CheckpointError } from "../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../models/checkpoint/checkpoint_file.ts";
import { readFinite } from "../models/checkpoint/read_finite.ts";
import {
  buildStudentCheckpoint,
  checkpointFileName,
  type NamedTensor,
  readStudentCheckpoint,
} from "../models/checkpoint/student_checkpoint.ts";
import { buildResumeState, readResumeState } from "../models/checkpoint/resume_state.ts";
import { writeTorchFile } from "../models/checkpoint/torch_writer.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import { describeBadEntry } from "../models/finite.ts";
import { distillLearningRate } from "../models/optim/schedule.ts";
import { findEncoder } from "../models/registry.ts";
import { similarityPicture } from "../models/similarity_picture.ts";
import { type StepLoss, StudentStep } from "../models/student_step.ts";
import type {
  BatchPosition,
  KeyedBatch,
  Monitor,
  QueueContents,
  StudentTrainer,
  TsvReader,
  ViewSample,
} from "./messages.ts";
import { BestEffort } from "./best_effort.ts";
import type { RunIdentity } from "./run_terms.ts";
import { type BatchNumber, isAfter } from "./batch_number.ts";
import { initialStudent } from "./student_init.ts";
import { type DistillOptions, hasGallery, smallViewsOf } from "./options.ts";
import { profileAll } from "./run_profile.ts";
import { type ActorContext, type ActorRef, defineActor } from "./runtime/mod.ts";
import { scheduleOf } from "./schedule_of.ts";
import { buffersOf } from "./buffers.ts";

/** How a trainer is started. */
export interface StudentTrainerConfig {
  /** Of the whole run. */
  options: DistillOptions;
  /** What the mirror of the queue starts with. */
  queue: QueueContents;
  /** Batches done before the first one that will come. */
  done: BatchNumber;
  /** Batches of an epoch. */
  batchesPerEpoch: number;
  /** What checkpoints say of the run, so that one that is gone on with is known to be the same. */
  identity?: RunIdentity;
  /** Who is told of steps and checkpoints. */
  monitor: ActorRef<Monitor>;
}

/** What a look shows: views of a batch, and keys of the queue. */
const SHOWN_VIEWS = 16;
const SHOWN_KEYS = 40;

/** The trainer's state. */
class Training {
  readonly #config: StudentTrainerConfig;
  readonly #step: StudentStep;
  #readers = new Map<string, ActorRef<TsvReader>>();
  /** Settles when the newest step has been told of. */
  #reported: Promise<void> = Promise.resolve();
  /** The last batch that was trained on; before the first one `batch` is one less than the first. */
  #last: BatchNumber & { lr: number };
  /** Row of the queue that the next batch's first key replaces. */
  #queuePointer: number;
  /** When the last checkpoint was written, or the run began. */
  #savedAt = performance.now();
  /** Batches trained on in the whole run: PyTorch's `num_batches_tracked`. */
  #tracked: number;
  #lossScale: LossScale | undefined;
  #isLookDue = false;
  readonly #effort: BestEffort;
  /** Where checkpoints go: never to another folder that was put in its place. */
  readonly #folder: FolderIdentity | undefined;

  constructor(
    config: StudentTrainerConfig,
    step: StudentStep,
    lossScale: LossScale | undefined,
    folder: FolderIdentity | undefined,
  ) {
    this.#config = config;
    this.#folder = folder;
    this.#step = step;
    this.#lossScale = lossScale;
    this.#effort = new BestEffort((text) => void config.monitor.tell("warning", text).catch(() => {}));
    const { done: { epoch, batch }, batchesPerEpoch, options } = config;
    this.#last = { epoch, batch: batch - 1, lr: distillLearningRate(epoch, scheduleOf(options)) };
    this.#tracked = epoch * batchesPerEpoch + batch;
    this.#queuePointer = config.queue.pointer;
  }

  connect(readers: ActorRef<TsvReader>[]): void {
    this.#readers = new Map(readers.map((reader) => [reader.name, reader]));
  }

  /** The next step is looked into. */
  look(): void {
    this.#isLookDue = true;
  }

  /** One step. It is submitted before the loss of the one before it is known, so that the device never waits. */
  async train(batch: KeyedBatch, context: ActorContext<StudentTrainer>): Promise<void> {
    const { position, views, embeddings, small, queuePointer } = batch;
    if (!isAfter(position, this.#last)) return this.#sendHome(batch); // once more, after a restart of another actor
    const lr = distillLearningRate(position.epoch, scheduleOf(this.#config.options));
    const teacher = new Float32Array(embeddings);
    const loss = this.#step.run({
      images: views,
      teacher,
      ...small && { small: { images: small.views, teacher: new Float32Array(small.embeddings) } },
      learningRate: lr,
      queuePointer,
      step: this.#tracked,
    });
    this.#last = { epoch: position.epoch, batch: position.batch, lr };
    this.#tracked++;
    this.#queuePointer = (queuePointer + this.#config.options.batchSize) % this.#config.options.queue;
    const shown = this.#isLookDue
      ? this.#effort.attempt("the look into a step", () => this.#copyShown(batch))
      : undefined;
    this.#sendHome(batch);
    if (shown !== undefined) {
      await this.#effort.attempt("the look into a step", () => this.#show(batch, shown));
    }
    const before = this.#reported;
    this.#reported = this.#report(position, lr, loss);
    await before;
    if (!position.endsEpoch && !this.#isSaveDue()) return;
    const path = await this.save(context);
    if (!position.endsEpoch) {
      await this.#config.monitor.tell("saved", { epoch: position.epoch, endsEpoch: false, path });
      return;
    }
    const { options } = this.#config;
    const { knnEvery, testData } = options;
    const isDue = testData !== null && knnEvery > 0 && (position.epoch + 1) % knnEvery === 0;
    const weights = isDue || hasGallery(options) ? await this.weights() : undefined;
    await this.#config.monitor.tell("saved", { epoch: position.epoch, endsEpoch: true, path, weights });
  }

  /** Gives a batch's buffers back. A reader that crashed needs none: its next life makes its own. */
  #sendHome(batch: KeyedBatch): void {
    this.#readers.get(batch.home)?.tell("recycle", buffersOf(batch)).catch(() => {});
  }

  /** What a look needs of a batch whose buffers are about to go. */
  #copyShown({ views, embeddings, pictures }: KeyedBatch): { views: ViewSample; teacher: Float32Array } {
    this.#isLookDue = false;
    const { imageSize: size, dim } = this.#config.options;
    const count = Math.min(SHOWN_VIEWS, pictures.count);
    const pixels = new Uint8Array(views.slice(0, count * size * size * 4));
    return {
      views: { pixels, count, size, isSmall: false },
      teacher: new Float32Array(embeddings.slice(0, 4 * dim)),
    };
  }

  /** Tells the monitor what the step just submitted was about. */
  async #show(
    { position, queuePointer }: KeyedBatch,
    { views, teacher }: { views: ViewSample; teacher: Float32Array },
  ): Promise<void> {
    const { dim, temp, distillT } = this.#config.options;
    const student = await this.#step.readEmbeddings();
    const pair = new Float32Array(2 * dim);
    pair.set(teacher);
    pair.set(student.subarray(0, dim), dim);
    const cosines = await this.#step.compareWithQueue(pair);
    const keys = cosines.length / 2;
    const similarities = similarityPicture(cosines.subarray(0, keys), cosines.subarray(keys), {
      temperature: temp,
      teacherTemperature: distillT,
      ownKey: queuePointer,
      count: SHOWN_KEYS,
    });
    await this.#config.monitor.tell("look", { ...position, views, similarities });
  }

  /** Where training is, for those that are started again. */
  async standing(): Promise<{ newest: BatchNumber; queue: QueueContents }> {
    const { epoch, batch } = this.#last;
    const small = this.#config.queue.small && await this.#step.readQueue(1);
    const queue = { keys: await this.#step.readQueue(), pointer: this.#queuePointer, ...small && { small } };
    return { newest: { epoch, batch }, queue };
  }

  #isSaveDue(): boolean {
    const { saveEvery } = this.#config.options;
    if (saveEvery === null) return false;
    if ("steps" in saveEvery) return this.#tracked % saveEvery.steps === 0;
    return performance.now() - this.#savedAt >= 1000 * saveEvery.seconds;
  }

  /** Tells of a step when its loss has come back from the device. */
  async #report(position: BatchPosition, lr: number, promise: Promise<StepLoss>): Promise<void> {
    const { loss, isApplied, lossScale } = await promise;
    this.#lossScale = lossScale;
    const { onNan, amp } = this.#config.options;
    // Mixed precision skips a step now and then, and that is its way.
    if (!Number.isFinite(loss) || (!isApplied && !amp)) {
      const where = `epoch ${position.epoch}, batch ${position.batch}`;
      if (onNan === "stop" || isApplied) {
        const found = Number.isFinite(loss)
          ? `the gradients are not finite in ${where} (the loss is ${loss})`
          : `the loss is ${loss} in ${where}`;
        throw new UserError(
          `${found}: training has diverged. Checkpoints written before are whole; ${this.#advise(lr)}`,
        );
      }
      const text = `the loss is ${loss} in ${where}, and its step is skipped: the gradients are not finite`;
      await this.#config.monitor.tell("warning", `${text} (${lossScale!.skipped} so far)`);
    }
    await this.#config.monitor.tell("step", { ...position, loss, lr, lossScale });
  }

  /** What may keep training from diverging, by the settings that it had. */
  #advise(lr: number): string {
    const { lr: given, distillT, onNan, amp } = this.#config.options;
    return `try a lower --lr (it is ${given}${
      given === lr ? "" : `, and ${lr} in this epoch`
    }) or a higher --distill-t ` +
      `(it is ${distillT})${onNan === "skip" ? "" : ", or --on-nan skip"}${
        amp ? ", or leave --amp out" : ""
      }`;
  }

  async weights(): Promise<[string, Float32Array<ArrayBuffer>][]> {
    await this.#reported;
    return [...await this.#step.parameters.save()];
  }

  /** Fails where something that a checkpoint holds is not finite: the one before it stays. */
  #requireFinite(what: string, values: Iterable<readonly [string, Float32Array]>): void {
    for (const [key, data] of values) {
      const problem = describeBadEntry(key, data);
      if (problem === undefined) continue;
      const { epoch, batch, lr } = this.#last;
      throw new UserError(
        `${what} ${problem} after epoch ${epoch}, batch ${batch}: training has diverged, and no checkpoint is written of ` +
          `it. Those written before are whole; ${this.#advise(lr)}`,
      );
    }
  }

  /**
   * Writes a checkpoint of everything up to the last batch, with the original's keys and file name.
   *
   * @throws {UserError} where a number of it is not finite; nothing is written then
   */
  async save(context: ActorContext<StudentTrainer>): Promise<string> {
    await this.#reported;
    const { options, batchesPerEpoch } = this.#config;
    const { epoch, batch, lr } = this.#last;
    const finished = batch === batchesPerEpoch - 1;
    const { queue } = await this.standing();
    const values = await this.#step.parameters.save();
    const momentum = await this.#step.parameters.saveArena("momentum");
    this.#requireFinite("the student's", values);
    this.#requireFinite("the momentum of", momentum);
    this.#requireFinite("the", [
      ["queue", queue.keys],
      ...queue.small ? [["small queue", queue.small] as const] : [],
    ]);
    const student = this.#step.state.map(({ key, shape }): NamedTensor => {
      const data = values.get(key);
      return data === undefined
        ? { key, shape, dtype: "int64", data: BigInt64Array.of(BigInt(this.#tracked)) }
        : { key, shape, data };
    });
    const queueTensor = (keys: Float32Array) => ({
      shape: [options.dim, options.queue],
      data: transpose(keys, options.queue, options.dim),
    });
    using teacher = await openEncoderSource(options.distill, { arch: options.teacherArch, part: "encoder" });
    const path = join(options.output, checkpointFileName(epoch, options));
    this.#folder?.check();
    await context.wait(writeTorchFile(
      path,
      buildStudentCheckpoint({
        epoch: finished ? epoch + 1 : epoch,
        arch: options.studentArch,
        student,
        teacher: teacher.tensors,
        queue: queueTensor(queue.keys),
        ...queue.small && { smallQueue: queueTensor(queue.small) },
        queuePointer: queue.pointer,
        sgd: { lr, momentum: options.momentum, weightDecay: options.weightDecay },
        momentum,
        resume: buildResumeState({
          batch: finished ? 0 : batch + 1,
          batchesPerEpoch,
          batchSize: options.batchSize,
          seed: options.seed,
          lossScale: this.#lossScale,
          ...this.#config.identity,
        }),
      }),
    ));
    this.#savedAt = performance.now();
    return path;
  }
}

/** [rows, columns] to [columns, rows]: the original keeps its queue as [dim, K]. */
export function transpose(values: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      turned[column * rows + row] = values[row * columns + column];
    }
  }
  return turned;
}

/** Where loss scaling was when a checkpoint was written; where it begins if the run had none. */
async function readLossScale({ amp, resume: path }: DistillOptions): Promise<LossScale> {
  const initial = amp ? INITIAL_LOSS_SCALE : { ...INITIAL_LOSS_SCALE, scale: 1 };
  if (path === null) return initial;
  using file = await openCheckpointFile(path);
  const { resume } = readStudentCheckpoint(file);
  return readResumeState(resume, (problem) => new CheckpointError(path, problem)).lossScale ?? initial;
}

/** Loads the student from the checkpoint of an earlier run: weights, running statistics and momentum. */
async function loadStudent(step: StudentStep, path: string): Promise<void> {
  using file = await openCheckpointFile(path);
  const { student, momentum } = readStudentCheckpoint(file);
  await step.parameters.load((key) => readFinite(path, key, student.get(key)!));
  const values = new Map<string, Float32Array>();
  for (const [key, tensor] of momentum) {
    values.set(key, await readFinite(path, `the momentum of ${key}`, tensor));
  }
  step.parameters.loadArena("momentum", values);
}

export default defineActor<StudentTrainer, StudentTrainerConfig>(async (config, context) => {
  const { options, queue } = config;
  const folder = FolderIdentity.of(options.output); // where there is none, the first checkpoint will say so
  context.onStop(() => folder?.[Symbol.dispose]());
  const gpu = await openGpu(context.name, options.tuning);
  context.onStop(() => gpu.destroy());
  const isScaled = options.amp || options.onNan === "skip";
  const lossScale = isScaled ? await readLossScale(options) : undefined;
  const step = await StudentStep.create(gpu, {
    encoder: findEncoder(options.studentArch),
    head: { kind: options.studentMlp ? "mlp" : "linear", dimension: options.dim },
    batch: options.batchSize,
    imageSize: options.imageSize,
    queueSize: options.queue,
    small: smallViewsOf(options),
    temperature: options.temp,
    teacherTemperature: options.distillT,
    momentum: options.momentum,
    weightDecay: options.weightDecay,
    dropoutSeed: options.seed,
    checkpointActivations: options.checkpointActivations,
    mixedPrecision: options.amp,
    loss: options.loss,
    lossScale,
    lossScaleRule: options.amp ? GRAD_SCALER : FIXED_SCALE,
  });
  if (options.resume === null) {
    const weights = new Map(await initialStudent(options, options.seed, step.state));
    await step.parameters.load((key) => weights.get(key)!);
  } else await loadStudent(step, options.resume);
  step.loadQueue(queue.keys);
  if (queue.small !== undefined) step.loadQueue(queue.small, 1);
  const training = new Training(config, step, lossScale, folder);

  return {
    handlers: {
      connect: ({ readers }) => training.connect(readers),
      train: (batch) => training.train(batch, context),
      standing: () => training.standing(),
      weights: () => training.weights(),
      look: () => training.look(),
      save: async () => ({ path: await training.save(context) }),
      profile: () => profileAll(Object.fromEntries(step.programs.map((program) => [program.label, program]))),
    },
  };
});
