/** Trains the student, tells how it goes, and writes checkpoints. */
import { join } from "node:path";
import { type BatchNumber, isAfter } from "../../actors/batch_number.ts";
import { BestEffort } from "../../actors/best_effort.ts";
import type { Monitor } from "../../actors/events.ts";
import type { BatchPosition, ViewSample } from "../../actors/messages.ts";
import { profileAll } from "../../actors/run_profile.ts";
import type { ActorRef } from "../../actors/runtime/mod.ts";
import { defineTrainer, type Trainer } from "../../actors/trainer.ts";
import { UserError } from "../../errors.ts";
import {
  FIXED_SCALE,
  GRAD_SCALER,
  INITIAL_LOSS_SCALE,
  type LossScale,
} from "../../kernels/ops/loss_scale/loss_scale.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { readFinite } from "../../models/checkpoint/read_finite.ts";
import type { NamedTensor } from "../../models/checkpoint/named_tensor.ts";
import { buildResumeState, readResumeState } from "../../models/checkpoint/resume_state.ts";
import { inputOf } from "../../models/encoder_input.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { distillLearningRate } from "../../models/optim/schedule.ts";
import { findEncoder } from "../../models/registry.ts";
import { similarityMap } from "../../models/similarity_map.ts";
import { type BatchInGroup, groupOf } from "../../models/training_step.ts";
import { cropRatioOf } from "../encoder_views.ts";
import type { RunIdentity } from "../terms.ts";
import {
  buildStudentCheckpoint,
  checkpointFileName,
  readStudentCheckpoint,
  transpose,
} from "./checkpoint.ts";
import type { DistillActorEvent } from "./events.ts";
import type { KeyedBatch, QueueContents, StudentTrainer } from "./messages.ts";
import { localViewsOf } from "./augmentation.ts";
import { type DistillOptions, hasProbeSet, scheduleOf, teacherPart } from "./options.ts";
import { type StepLoss, StudentStep } from "./step.ts";
import { initialStudent } from "./student_init.ts";

/** How a trainer is started. */
export interface StudentTrainerConfig {
  /** Of the whole run. */
  options: DistillOptions;
  /** What the queue starts with. */
  queue: QueueContents;
  /** Batches done before the first one that will come. */
  done: BatchNumber;
  /** Batches of an epoch. */
  batchesPerEpoch: number;
  /** What checkpoints say of the run, so that one that is gone on with is known to be the same. */
  identity?: RunIdentity;
  /** Who is told of steps and checkpoints. */
  monitor: ActorRef<Monitor<DistillActorEvent>>;
}

/** What a snapshot shows: views of a batch, and keys of the queue. */
const SHOWN_VIEWS = 16;
const SHOWN_KEYS = 40;

/** The trainer's state. */
class StudentTraining {
  readonly #config: StudentTrainerConfig;
  readonly #trainer: Trainer;
  readonly #step: StudentStep;
  /** The last batch that was trained on; before the first one `batch` is one less than the first. */
  #last: BatchNumber & { lr: number };
  /** Row of the queue that the next batch's first key replaces. */
  #queuePointer: number;
  /** When the last checkpoint was written, or the run began. */
  #savedAt = performance.now();
  /** Batches trained on in the whole run: PyTorch's `num_batches_tracked`. */
  #tracked: number;
  #lossScale: LossScale | undefined;
  #isSnapshotDue = false;
  #areStatsDue = false;
  /** Whether a checkpoint is to be written when the batches that accumulate have become a step. */
  #isSaveDue = false;
  readonly #effort: BestEffort;

  constructor(
    config: StudentTrainerConfig,
    trainer: Trainer,
    step: StudentStep,
    lossScale: LossScale | undefined,
  ) {
    this.#config = config;
    this.#trainer = trainer;
    this.#step = step;
    this.#lossScale = lossScale;
    this.#effort = new BestEffort((text) => void this.#tell({ type: "warning", text }).catch(() => {}));
    const { done: { epoch, batch }, batchesPerEpoch, options } = config;
    this.#last = { epoch, batch: batch - 1, lr: distillLearningRate(epoch, scheduleOf(options)) };
    this.#tracked = epoch * batchesPerEpoch + batch;
    this.#queuePointer = config.queue.pointer;
  }

  #tell(event: DistillActorEvent): Promise<void> {
    return this.#config.monitor.tell("event", event);
  }

  /** Which of the batches that accumulate to a step one is. */
  #groupOf({ batch }: BatchNumber): BatchInGroup {
    const { batchesPerEpoch, options } = this.#config;
    return groupOf(batch, batchesPerEpoch, options.accumulate);
  }

  /** The next step is looked into. */
  requestSnapshot(): void {
    this.#isSnapshotDue = true;
  }

  /** One step. It is submitted before the loss of the one before it is known, so that the device never waits. */
  async train(batch: KeyedBatch): Promise<void> {
    const { position, views, embeddings, local, queuePointer } = batch;
    // Once more, after a restart of another actor.
    if (!isAfter(position, this.#last)) return await this.#trainer.giveBack(batch);
    const { options } = this.#config;
    const lr = distillLearningRate(position.epoch, scheduleOf(options));
    const group = this.#groupOf(position);
    this.#areStatsDue ||= options.statsEvery > 0 && (this.#tracked + 1) % options.statsEvery === 0;
    const loss = this.#step.run({
      images: views,
      teacher: new Float32Array(embeddings),
      ...local && { local: { images: local.views, teacher: new Float32Array(local.embeddings) } },
      learningRate: lr,
      queuePointer,
      step: this.#tracked,
      group,
      takesStats: this.#areStatsDue,
    });
    if (isLast(group)) this.#areStatsDue = false;
    this.#last = { epoch: position.epoch, batch: position.batch, lr };
    this.#tracked++;
    this.#queuePointer = (queuePointer + options.batchSize) % options.queue;
    const shown = this.#isSnapshotDue
      ? this.#effort.attempt("the snapshot of a step", () => this.#copyShown(batch))
      : undefined;
    await this.#trainer.giveBack(batch);
    if (shown !== undefined) {
      await this.#effort.attempt("the snapshot of a step", () => this.#show(batch, shown));
    }
    await this.#trainer.report((before) => this.#report(position, lr, loss, before));
    this.#isSaveDue ||= position.endsEpoch || this.#isIntervalOver();
    if (this.#isSaveDue && isLast(group)) await this.#saveAfter(position);
  }

  /** Writes a checkpoint, and tells of it. */
  async #saveAfter({ epoch, endsEpoch }: BatchPosition): Promise<void> {
    const path = await this.#write();
    const { knnEvery, testData } = this.#config.options;
    const isDue = testData !== null && knnEvery > 0 && (epoch + 1) % knnEvery === 0;
    const isWanted = endsEpoch && (isDue || hasProbeSet(this.#config.options));
    const weights = isWanted ? await this.weights() : undefined;
    await this.#tell({ type: "saved", epoch, endsEpoch, path, ...weights && { weights } });
  }

  /** What a snapshot needs of a batch whose buffers are about to go. */
  #copyShown({ views, embeddings, images }: KeyedBatch): { views: ViewSample; teacher: Float32Array } {
    this.#isSnapshotDue = false;
    const { imageSize: size, dim } = this.#config.options;
    const count = Math.min(SHOWN_VIEWS, images.count);
    const pixels = new Uint8Array(views.slice(0, count * size * size * 4));
    return {
      views: { pixels, count, size, isLocal: false },
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
    const similarities = similarityMap(cosines.subarray(0, keys), cosines.subarray(keys), {
      temperature: temp,
      teacherTemperature: distillT,
      ownKey: queuePointer,
      count: SHOWN_KEYS,
    });
    const step = position.epoch * this.#config.batchesPerEpoch + position.batch + 1;
    await this.#tell({ type: "snapshot", ...position, step, views, similarities });
  }

  /** Steps of the whole run that are done. */
  get step(): number {
    const { epoch, batch } = this.#last;
    return epoch * this.#config.batchesPerEpoch + batch + 1;
  }

  /** Where training is, for those that are started again. */
  progress(): { newest: BatchNumber; queuePointer: number } {
    const { epoch, batch } = this.#last;
    return { newest: { epoch, batch }, queuePointer: this.#queuePointer };
  }

  #isIntervalOver(): boolean {
    const { saveEvery } = this.#config.options;
    if (saveEvery === null) return false;
    if ("steps" in saveEvery) return this.#tracked % saveEvery.steps === 0;
    return performance.now() - this.#savedAt >= 1000 * saveEvery.seconds;
  }

  /** Tells of a step when its loss has come back from the device, and the step before has been told of. */
  async #report(
    position: BatchPosition,
    lr: number,
    promise: Promise<StepLoss>,
    before: Promise<void>,
  ): Promise<void> {
    const { loss, isApplied, lossScale, stats } = await promise;
    await before; // which may have had more to tell
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
          `${found}: training has diverged. Earlier checkpoints are whole; ${this.#advise(lr)}`,
        );
      }
      const text = `the loss is ${loss} in ${where}, and its step is skipped: the gradients are not finite`;
      await this.#tell({ type: "warning", text: `${text} (${lossScale!.skipped} so far)` });
    }
    const { epoch, batch } = position;
    const step = epoch * this.#config.batchesPerEpoch + batch + 1;
    if (stats !== undefined) { // before the step, after which the run may be over
      const { allocatedBytes: deviceBytes } = this.#trainer.gpu;
      const { rss: processBytes } = Deno.memoryUsage();
      await this.#tell({ type: "stats", epoch, step, ...stats, deviceBytes, processBytes });
    }
    await this.#tell({ type: "step", epoch, step, loss, lr, ...lossScale && { lossScale } });
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
    await this.#trainer.reported;
    return [...await this.#step.parameters.save()];
  }

  /** Fails where something that a checkpoint holds is not finite. */
  #requireFinite(what: string, values: Iterable<readonly [string, Float32Array]>): void {
    const { epoch, batch, lr } = this.#last;
    this.#trainer.requireFinite(
      values,
      (problem) =>
        `${what} ${problem} after epoch ${epoch}, batch ${batch}: training has diverged, and no checkpoint is written of ` +
        `it. Earlier ones are whole; ${this.#advise(lr)}`,
    );
  }

  /**
   * Writes a checkpoint of everything up to the last batch, or says that this is due: when the batches that have accumulated
   * have become a step.
   */
  async save(): Promise<string | null> {
    const { epoch, batch } = this.#last;
    if (batch < 0 || isLast(this.#groupOf({ epoch, batch }))) return await this.#write();
    this.#isSaveDue = true;
    return null;
  }

  /**
   * Writes a checkpoint with the original's keys and file name.
   *
   * @throws {UserError} where a number of it is not finite; nothing is written then
   */
  async #write(): Promise<string> {
    await this.#trainer.reported;
    const { options, batchesPerEpoch } = this.#config;
    const { epoch, batch, lr } = this.#last;
    const finished = batch === batchesPerEpoch - 1;
    const keys = await this.#step.readQueue();
    const localKeys = this.#config.queue.local && await this.#step.readQueue(1);
    const values = await this.#step.parameters.save();
    const momentum = await this.#step.parameters.saveArena("momentum");
    this.#requireFinite("the student's", values);
    this.#requireFinite("the momentum of", momentum);
    this.#requireFinite("the", [["queue", keys], ...localKeys ? [["small queue", localKeys] as const] : []]);
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
    using teacher = await openEncoderSource(options.distill, {
      arch: options.teacherArch,
      weights: options.weights,
      part: teacherPart(options),
    });
    const path = join(options.output, checkpointFileName(epoch, options));
    const views = { imageSize: options.imageSize, cropRatio: cropRatioOf(options.evalResize) };
    await this.#trainer.write(
      path,
      buildStudentCheckpoint({
        epoch: finished ? epoch + 1 : epoch,
        arch: options.studentArch,
        student,
        teacher: teacher.tensors,
        queue: queueTensor(keys),
        ...localKeys && { smallQueue: queueTensor(localKeys) },
        queuePointer: this.#queuePointer,
        sgd: { lr, momentum: options.momentum, weightDecay: options.weightDecay },
        momentum,
        input: inputOf(findEncoder(options.studentArch), views),
        teacherInput: inputOf(teacher.encoder, views, teacher.input),
        resume: buildResumeState({
          batch: finished ? 0 : batch + 1,
          batchesPerEpoch,
          batchSize: options.batchSize,
          seed: options.seed,
          lossScale: this.#lossScale,
          ...this.#config.identity,
        }),
      }),
    );
    this.#savedAt = performance.now();
    this.#isSaveDue = false;
    return path;
  }
}

/** Whether a batch is the last one of those that accumulate. */
function isLast({ index, size }: BatchInGroup): boolean {
  return index === size - 1;
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

export default defineTrainer<StudentTrainer, StudentTrainerConfig>(async (trainer, config) => {
  const { options, queue } = config;
  const isScaled = options.amp || options.onNan === "skip";
  const lossScale = isScaled ? await readLossScale(options) : undefined;
  const step = await StudentStep.create(trainer.gpu, {
    encoder: findEncoder(options.studentArch),
    head: { kind: options.studentMlp ? "mlp" : "linear", dimension: options.dim },
    batch: options.batchSize,
    imageSize: options.imageSize,
    queueSize: options.queue,
    local: localViewsOf(options),
    temperature: options.temp,
    teacherTemperature: options.distillT,
    momentum: options.momentum,
    weightDecay: options.weightDecay,
    accumulate: options.accumulate,
    ...options.clipGrad !== null && { clipNorm: options.clipGrad },
    hasStats: options.statsEvery > 0,
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
  if (queue.local !== undefined) step.loadQueue(queue.local, 1);
  const training = new StudentTraining(config, trainer, step, lossScale);

  return {
    connect: (peers) => trainer.connect(peers),
    train: (batch) => training.train(batch),
    progress: () => training.progress(),
    weights: () => training.weights(),
    requestSnapshot: () => training.requestSnapshot(),
    save: async () => ({ path: await training.save(), step: training.step }),
    profile: () => profileAll(Object.fromEntries(step.programs.map((program) => [program.label, program]))),
  };
});
