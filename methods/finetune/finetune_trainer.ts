/**
 * Trains an encoder with its classifier, classifies the test images, and writes checkpoints.
 *
 * Views to learn from (`train`) make a step each. Queries are classified by the weights that were frozen last.
 */
import { join } from "node:path";
import type { BatchNumber } from "../../actors/batch_number.ts";
import type { Monitor } from "../../actors/events.ts";
import type { BatchPosition, Purpose, ViewBatch } from "../../actors/messages.ts";
import { type ActorContext, type ActorRef, urgent } from "../../actors/runtime/mod.ts";
import { defineTrainer, type Trainer } from "../../actors/trainer.ts";
import { UserError } from "../../errors.ts";
import {
  FIXED_SCALE,
  GRAD_SCALER,
  INITIAL_LOSS_SCALE,
  type LossScale,
} from "../../kernels/ops/loss_scale/loss_scale.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { isCounter } from "../../models/checkpoint/named_tensor.ts";
import { readFinite } from "../../models/checkpoint/read_finite.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import type { SavedInput } from "../../models/checkpoint/saved_input.ts";
import type { TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import { inputOf } from "../../models/encoder_input.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import type { Normalization } from "../../models/images.ts";
import { initialize, type StateValues } from "../../models/initialize.ts";
import { findEncoder } from "../../models/registry.ts";
import { type ClassificationScore, classLabelsOf, scoreOf, Tally } from "../classification.ts";
import { cropRatioOf } from "../encoder_views.ts";
import { buildFinetuneCheckpoint, readFinetuneCheckpoint } from "./checkpoint.ts";
import type { FinetuneActorEvent } from "./events.ts";
import type { FinetuneTrainer } from "./messages.ts";
import { type FinetuneOptions, type LearningRates, learningRatesOf } from "./options.ts";
import type { FinetuneStart } from "./prepare.ts";
import { classifierState, FinetuneStep, type FinetuneStepResult, FrozenClassifier } from "./step.ts";

/** How a trainer is started. */
export interface FinetuneTrainerConfig {
  /** Of the whole run. */
  options: FinetuneOptions;
  /** Labels are 0 to classes - 1. */
  classes: number;
  /** Batches of an epoch. */
  batchesPerEpoch: number;
  /** Where it begins. */
  start: FinetuneStart;
  /** What checkpoints say of the run, so that one that is gone on with is known to be the same. */
  terms?: readonly Term[];
  /** Who is told of steps. */
  monitor: ActorRef<Monitor<FinetuneActorEvent>>;
}

/** `finetune_checkpoint_0007.pth.tar` in or after epoch 7. */
export function finetuneCheckpointName(epoch: number): string {
  return `finetune_checkpoint_${String(epoch).padStart(4, "0")}.pth.tar`;
}

/** Name of the best one, as a linear evaluation has it. */
export const BEST_CHECKPOINT = "model_best.pth.tar";

/** What an encoder and its classifier start from. */
interface InitialState {
  values: StateValues;
  momentum: StateValues;
  counters: Map<string, number>;
  normalization?: Normalization;
  /** What the encoder's own checkpoint says of its images. */
  input?: SavedInput;
  lossScale?: LossScale;
}

/** The trainer's state. */
class Finetuning {
  readonly #config: FinetuneTrainerConfig;
  readonly #trainer: Trainer;
  readonly #step: FinetuneStep;
  readonly #frozen: FrozenClassifier;
  /** Batch norm's counters of batches, by key. */
  readonly #counters: Map<string, number>;
  readonly #input: SavedInput | undefined;
  #lossScale: LossScale | undefined;
  /** The first batch that was not trained on; an epoch's end is the next one's first. */
  #next: BatchNumber;
  #isTested: boolean;
  #best: number;
  /** Of the epoch under way. */
  readonly #trained = new Tally();
  #tested = new Tally();
  /** Images that have come and were told of since the last `finish`. */
  readonly #came = new Map<Purpose, number>();
  #consumed = Promise.withResolvers<void>();
  /** Whether there is anything that the newest checkpoint does not have. */
  #isNew = false;
  /** The checkpoint of this run that is on the disk. */
  #written?: string;

  constructor(
    config: FinetuneTrainerConfig,
    trainer: Trainer,
    step: FinetuneStep,
    frozen: FrozenClassifier,
    { counters, input, lossScale }: InitialState,
  ) {
    const { start: { epoch, batch, best, progress } } = config;
    this.#config = config;
    this.#trainer = trainer;
    this.#step = step;
    this.#frozen = frozen;
    this.#counters = counters;
    this.#input = input;
    this.#lossScale = lossScale;
    this.#next = { epoch, batch };
    this.#isTested = progress.isTested;
    this.#best = best;
    const { images, ...sums } = progress.trained;
    if (images > 0) this.#trained.restore(images, [sums]);
  }

  /** Learns from a batch, or classifies it. */
  async encode(batch: ViewBatch): Promise<void> {
    const { purpose, images } = batch;
    const labels = classLabelsOf(images, this.#config.classes);
    const told = labels.length === 0
      ? undefined
      : purpose === "train"
      ? this.#train(batch, labels)
      : this.#classify(batch, labels);
    await this.#trainer.giveBack(batch);
    await told;
    this.#consumed.resolve();
    this.#consumed = Promise.withResolvers();
  }

  /** One step. It is submitted before the result of the one before it is known, so that the device never waits. */
  #train({ views, position }: ViewBatch, labels: readonly number[]): Promise<void> {
    const { options, batchesPerEpoch } = this.#config;
    const { epoch, batch, endsEpoch } = position;
    const rates = learningRatesOf(options, epoch);
    const result = this.#step.train({
      images: views,
      labels,
      ...rates,
      step: epoch * batchesPerEpoch + batch,
    });
    if (batch === 0) this.#trained.clear();
    for (const [key, count] of this.#counters) this.#counters.set(key, count + 1);
    this.#next = endsEpoch ? { epoch: epoch + 1, batch: 0 } : { epoch, batch: batch + 1 };
    this.#isTested = !endsEpoch;
    this.#isNew = true;
    return this.#trainer.report(async (before) => {
      const found = await result;
      await before;
      await this.#report(position, rates, labels.length, found);
    });
  }

  /** Tells of a step when its result has come back from the device. */
  async #report(
    { epoch, batch }: BatchPosition,
    rates: LearningRates,
    images: number,
    { isApplied, lossScale, ...result }: FinetuneStepResult,
  ): Promise<void> {
    const { options: { onNan, amp }, batchesPerEpoch, monitor } = this.#config;
    this.#lossScale = lossScale;
    const { loss } = result;
    // Mixed precision skips a step now and then, and that is its way.
    if (!Number.isFinite(loss) || (!isApplied && !amp)) {
      const where = `epoch ${epoch}, batch ${batch}`;
      if (onNan === "stop" || isApplied) {
        const found = Number.isFinite(loss)
          ? `the gradients are not finite in ${where} (the loss is ${loss})`
          : `the loss is ${loss} in ${where}`;
        throw new UserError(
          `${found}: training has diverged. Earlier checkpoints are whole; ${this.#advise()}`,
        );
      }
      const text = `the loss is ${loss} in ${where}, and its step is skipped: the gradients are not finite`;
      await monitor.tell("event", { type: "warning", text: `${text} (${lossScale!.skipped} so far)` });
    } else this.#trained.add(images, [result]);
    this.#count("train", images);
    await monitor.tell("event", {
      type: "step",
      epoch,
      step: epoch * batchesPerEpoch + batch + 1,
      score: scoreOf(result, images),
      ...rates,
      ...lossScale && { lossScale },
    });
  }

  /** What may keep training from diverging, by the settings that it had. */
  #advise(): string {
    const { lr, lrLastLayer, onNan, amp } = this.#config.options;
    return `try a lower --lr (it is ${lr}) or --lr-last-layer (it is ${lrLastLayer})` +
      `${onNan === "skip" ? "" : ", or --on-nan skip"}${amp ? ", or leave --amp out" : ""}`;
  }

  #classify({ views, purpose }: ViewBatch, labels: readonly number[]): Promise<void> {
    const result = this.#frozen.evaluate({ images: views, labels });
    return this.#trainer.report(async (before) => {
      const found = await result;
      await before;
      this.#tested.add(labels.length, [found]);
      this.#count(purpose, labels.length);
      await this.#config.monitor.tell("event", { type: "came", images: labels.length });
    });
  }

  #count(purpose: Purpose, images: number): void {
    this.#came.set(purpose, (this.#came.get(purpose) ?? 0) + images);
  }

  /** Waits for images, and says how they were classified; of an epoch that was resumed, those before too. */
  async finish(
    purpose: Purpose,
    images: number,
    context: ActorContext<FinetuneTrainer>,
  ): Promise<ClassificationScore> {
    for (;;) {
      await this.#trainer.reported;
      if ((this.#came.get(purpose) ?? 0) >= images) break;
      await context.wait(this.#consumed.promise);
    }
    this.#came.delete(purpose);
    const [score = { loss: NaN, top1: 0, top5: 0 }] = (purpose === "train" ? this.#trained : this.#tested)
      .scores();
    return score;
  }

  /** Takes the weights of now for the queries to come. */
  async freeze(): Promise<void> {
    this.#tested = new Tally();
    const { values } = await this.#readFinite();
    try {
      await this.#frozen.load((key) => values.get(key)!);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      // Finite weights can be too large when batch norm is folded into them.
      const text = `training has diverged by epoch ${this.#next.epoch}: ${error.message}; ${this.#advise()}`;
      throw new UserError(text, { cause: error });
    }
  }

  /** The last epoch is tested. */
  async note({ best, isBest }: { best: number; isBest: boolean }): Promise<void> {
    this.#isNew ||= !this.#isTested || best !== this.#best;
    this.#best = best;
    this.#isTested = true;
    if (isBest) await this.#write(join(this.#config.options.output, BEST_CHECKPOINT));
  }

  /** Steps of the whole run that are done. */
  get step(): number {
    return this.#next.epoch * this.#config.batchesPerEpoch + this.#next.batch;
  }

  /** Writes what is new; the checkpoint before it goes. */
  async save(): Promise<string | null> {
    const { output } = this.#config.options;
    if (!this.#isNew) return this.#written ?? null;
    const { epoch, batch } = this.#next;
    const path = join(output, finetuneCheckpointName(batch === 0 ? epoch - 1 : epoch));
    await this.#write(path);
    this.#isNew = false;
    if (this.#written !== undefined && this.#written !== path) {
      await Deno.remove(this.#written).catch(() => {});
    }
    this.#written = path;
    return path;
  }

  /** Reads all that is trained; fails where it is not finite. */
  async #readFinite(): Promise<{ values: StateValues; momentum: StateValues }> {
    await this.#trainer.reported;
    const values = await this.#step.save();
    const momentum = await this.#step.saveArena("momentum");
    const { epoch, batch } = this.#next;
    const explain = (of: string) => (problem: string) =>
      `${of}${problem} before epoch ${epoch}, batch ${batch}: training has diverged, and no checkpoint is written of ` +
      `it. Earlier ones are whole; ${this.#advise()}`;
    this.#trainer.requireFinite(values, explain(""));
    this.#trainer.requireFinite(momentum, explain("the momentum of "));
    return { values, momentum };
  }

  async #write(path: string): Promise<void> {
    const { options, classes, batchesPerEpoch, terms } = this.#config;
    const { arch, momentum: share, weightDecay, imageSize, evalResize, batchSize, seed } = options;
    const { values, momentum } = await this.#readFinite();
    const encoder = findEncoder(arch);
    const { epoch, batch } = this.#next;
    const rates = learningRatesOf(options, batch === 0 ? Math.max(0, epoch - 1) : epoch);
    const [sums = { loss: 0, top1: 0, top5: 0 }] = this.#trained.sums;
    await this.#trainer.write(
      path,
      buildFinetuneCheckpoint({
        epoch,
        arch,
        ...classifierState(encoder, classes),
        values,
        momentum,
        counters: this.#counters,
        sgd: [
          { lr: rates.lr, momentum: share, weightDecay },
          { lr: rates.lrLastLayer, momentum: share, weightDecay },
        ],
        best: this.#best,
        progress: { isTested: this.#isTested, trained: { images: this.#trained.images, ...sums } },
        input: inputOf(encoder, { imageSize, cropRatio: cropRatioOf(evalResize) }, this.#input),
        resume: { batch, batchesPerEpoch, batchSize, seed, lossScale: this.#lossScale, terms },
      }),
    );
  }
}

/** The weights of an encoder by its own checkpoint, or fresh ones, with a fresh classifier; or those of an earlier run. */
async function readInitialState(options: FinetuneOptions, classes: number): Promise<InitialState> {
  const { resume, pretrained, arch, which, weights, seed } = options;
  const { encoder, classifier } = classifierState(findEncoder(arch), classes);
  const state = [...encoder, ...classifier];
  const path = resume ?? pretrained;
  const counters = new Map<string, number>(
    state.flatMap(({ key, kind }) => kind === "counter" ? [[key, 0]] : []),
  );
  if (path === null) return { values: initialize(state, seed), momentum: new Map(), counters };
  using source = await openEncoderSource(
    path,
    resume === null ? { arch, which, weights, part: "backbone" } : { arch, part: "backbone" },
  );
  const { normalization, input } = source;
  const values: StateValues = initialize(classifier, seed);
  const take = async (tensors: ReadonlyMap<string, TensorRef>) => {
    for (const { key } of state) {
      const tensor = tensors.get(key);
      if (tensor === undefined) continue;
      if (isCounter(key)) counters.set(key, (await tensor.read())[0]);
      else values.set(key, await readFinite(path, key, tensor));
    }
  };
  if (resume === null) {
    // Its own fc is a projection head, or a classifier of other classes.
    await take(new Map([...source.tensors].filter(([key]) => encoder.some((entry) => entry.key === key))));
    return { values, momentum: new Map(), counters, normalization, input };
  }
  using file = await openCheckpointFile(resume);
  const saved = readFinetuneCheckpoint(file);
  await take(saved.tensors);
  const momentum: StateValues = new Map();
  for (const [key, tensor] of saved.momentum) {
    momentum.set(key, await readFinite(path, `the momentum of ${key}`, tensor));
  }
  return { values, momentum, counters, normalization, input, lossScale: saved.resume.lossScale };
}

/** What loss scaling starts from; `undefined` where there is none. */
function lossScaleOf({ amp, onNan }: FinetuneOptions, saved: LossScale | undefined): LossScale | undefined {
  if (!amp && onNan !== "skip") return undefined;
  return saved ?? (amp ? INITIAL_LOSS_SCALE : { ...INITIAL_LOSS_SCALE, scale: 1 });
}

export default defineTrainer<FinetuneTrainer, FinetuneTrainerConfig>(async (trainer, config, context) => {
  const { options, classes } = config;
  const { arch, batchSize: batch, imageSize, momentum, weightDecay, amp, seed } = options;
  const initial = await readInitialState(options, classes);
  const { values, normalization } = initial;
  const lossScale = lossScaleOf(options, initial.lossScale);
  const classifier = { encoder: findEncoder(arch), classes, batch, imageSize, normalization };
  const step = await FinetuneStep.create(trainer.gpu, {
    ...classifier,
    momentum,
    weightDecay,
    mixedPrecision: amp,
    lossScale,
    lossScaleRule: amp ? GRAD_SCALER : FIXED_SCALE,
    dropoutSeed: seed,
  });
  const frozen = await FrozenClassifier.create(trainer.gpu, classifier);
  await step.load((key) => values.get(key)!);
  step.loadMomentum(initial.momentum);
  const finetuning = new Finetuning(config, trainer, step, frozen, { ...initial, lossScale });

  return {
    connect: (peers) => trainer.connect(peers),
    encode: (batch) => finetuning.encode(batch),
    freeze: () => finetuning.freeze(),
    finish: urgent(({ purpose, images }) => finetuning.finish(purpose, images, context)),
    note: (tested) => finetuning.note(tested),
    save: async () => ({ path: await finetuning.save(), step: finetuning.step }),
  };
});
