/**
 * Trains an encoder with its classifier, classifies the test images, and writes checkpoints.
 *
 * Views to learn from (`train`) make a step each. Queries are classified by the weights that were frozen last.
 */
import { join } from "node:path";
import type { Monitor } from "../../actors/events.ts";
import type { ProgramProfile, Purpose, ViewBatch } from "../../actors/messages.ts";
import { noImages } from "../../actors/data_facts.ts";
import { DeviceExchange, requireSameLayout, type Wishes } from "../../actors/ranks/device_exchange.ts";
import { gatherNumbers, type RankPeers, requireSame } from "../../actors/ranks/peers.ts";
import { type RankSettings, rowsOf } from "../../actors/ranks/ranks.ts";
import { profileAll } from "../../actors/run_profile.ts";
import { type ActorContext, type ActorRef, urgent } from "../../actors/runtime/mod.ts";
import { defineTrainer, type Trainer } from "../../actors/trainer.ts";
import { fingerprintFile } from "../../data/fingerprint.ts";
import { UserError } from "../../errors.ts";
import type { LossScale } from "../../kernels/ops/loss_scale/loss_scale.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { BEST_CHECKPOINT } from "../../models/checkpoint/run_checkpoints.ts";
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
import { lastingBuffers } from "../../models/training_step.ts";
import {
  type BatchResult,
  type ClassificationScore,
  classLabelsOf,
  scoreOf,
  Tally,
} from "../classification.ts";
import {
  type LoadedOptimizer,
  NO_OPTIMIZER,
  readOptimizer,
  saveOptimizer,
} from "../encoder_training/optimizer_state.ts";
import { initialLossScale, optimizedBy, resumedLossScale } from "../encoder_training/step_options.ts";
import { TrainedSteps } from "../encoder_training/trained_steps.ts";
import { resizedBy } from "../encoder_views.ts";
import { programFacts } from "../program_facts.ts";
import { factsOf } from "../terms.ts";
import { buildFinetuneCheckpoint, readFinetuneCheckpoint } from "./checkpoint.ts";
import type { FinetuneActorEvent } from "./events.ts";
import type { FinetuneTrainer, WrittenCheckpoint } from "./messages.ts";
import { batchBefore, type FinetuneOptions, learningRatesOf } from "./options.ts";
import type { FinetuneStart } from "./prepare.ts";
import { classifierState, FinetuneStep, FrozenClassifier } from "./step.ts";

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
  /** The other ranks, where several share every batch. The first one writes the checkpoints. */
  ranks?: RankPeers & Pick<RankSettings, "bucketBytes">;
  /** Who is told of steps. */
  monitor: ActorRef<Monitor<FinetuneActorEvent>>;
}

/** `finetune_checkpoint_0007.pth.tar` in or after epoch 7. */
export function finetuneCheckpointName(epoch: number): string {
  return `finetune_checkpoint_${String(epoch).padStart(4, "0")}.pth.tar`;
}

/** Nothing is wished for. */
const NO_WISHES: Wishes = { save: false, stop: false };

/** What an encoder and its classifier start from. */
interface InitialState {
  values: StateValues;
  optimizer: LoadedOptimizer;
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
  readonly #steps: TrainedSteps;
  /** With the other ranks, where there are any. */
  readonly #exchange: DeviceExchange | undefined;
  /** What this rank wishes all to do when they meet next. */
  #wishes = NO_WISHES;
  /** What they have agreed on with a test. */
  #agreed = NO_WISHES;
  /** Whether they have met for the last time, in the test behind the last epoch: no wish is told after that. */
  #haveMetLast = false;
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
  /** The checkpoint that was written last. */
  #written?: string;
  /** Whether training ends with the next checkpoint, or has ended with the last one. */
  #end: "after saving" | "now" | undefined;

  constructor(
    config: FinetuneTrainerConfig,
    trainer: Trainer,
    step: FinetuneStep,
    frozen: FrozenClassifier,
    { counters, input, lossScale, optimizer }: InitialState,
    exchange: DeviceExchange | undefined,
  ) {
    this.#exchange = exchange;
    const { options, batchesPerEpoch, start } = config;
    const { best, progress } = start;
    this.#config = config;
    this.#trainer = trainer;
    this.#step = step;
    this.#frozen = frozen;
    this.#counters = counters;
    this.#input = input;
    const { lr } = learningRatesOf(options, start, batchesPerEpoch);
    this.#steps = new TrainedSteps(trainer, {
      options,
      batchesPerEpoch,
      extraSteps: start.extraSteps,
      first: start,
      lr,
      lossScale,
      steps: optimizer.steps,
      advice: [`a lower --lr-last-layer (now ${options.lrLastLayer})`],
      tell: (event) => config.monitor.tell("event", event),
    });
    this.#isTested = progress.isTested;
    this.#best = best;
    const { images, ...sums } = progress.trained;
    if (images > 0) this.#trained.restore(images, [sums]);
  }

  /** Learns from a batch, or classifies it. */
  async encode(batch: ViewBatch): Promise<void> {
    const { purpose, images } = batch;
    if (purpose === "train" && this.#end === "now") return await this.#trainer.giveBack(batch);
    const labels = classLabelsOf(images, this.#config.classes);
    const exchange = purpose === "train" ? this.#exchange : undefined;
    if (exchange !== undefined) [exchange.wishes, this.#wishes] = [this.#wishes, NO_WISHES];
    const told = labels.length === 0
      ? undefined
      : purpose === "train"
      ? this.#train(batch, labels)
      : this.#classify(batch, labels);
    await this.#trainer.giveBack(batch);
    await told;
    if (exchange?.agreed.stop) this.#end = "after saving";
    if (purpose === "train" && this.#steps.savesNow(exchange?.agreed.save ?? false)) {
      await this.#saveAndTell();
    }
    this.#consumed.resolve();
    this.#consumed = Promise.withResolvers();
  }

  /** One step. It is submitted before the result of the one before it is known, so that the device never waits. */
  #train({ views, position }: ViewBatch, labels: readonly number[]): Promise<void> {
    const { options, batchesPerEpoch, monitor } = this.#config;
    const { epoch, batch, endsEpoch } = position;
    const rates = learningRatesOf(options, position, batchesPerEpoch);
    const taken = this.#steps.take(position, rates.lr);
    const { step, group, takesStats } = taken;
    const settings = { images: views, labels, ...rates, step, group, takesStats };
    const trained = this.#trainer.begin(() => this.#step.train(settings));
    const result = this.#ranks === undefined ? trained : this.#ofAll(trained);
    if (batch === 0) this.#trained.clear();
    for (const [key, count] of this.#counters) this.#counters.set(key, count + 1);
    this.#isTested = !endsEpoch;
    this.#isNew = true;
    const reported = this.#steps.report(
      taken,
      result,
      async ({ lossScale, ...found }, { number, counts }) => {
        const images = labels.length * (this.#ranks?.size ?? 1);
        if (counts) this.#trained.add(images, [found]);
        this.#count("train", labels.length);
        const scaling = lossScale && { lossScale };
        const score = scoreOf(found, images);
        await monitor.tell("event", { type: "step", epoch, step: number, score, ...rates, ...scaling });
      },
    );
    // The gradients of the next batch must not come into those that are being exchanged.
    return this.#ranks === undefined ? reported : result.then(() => reported, () => reported);
  }

  get #ranks(): RankPeers | undefined {
    return this.#config.ranks;
  }

  /** How all ranks did on a batch, of which each had as many images. */
  async #ofAll<Result extends BatchResult>(own: Promise<Result>): Promise<Result> {
    const { loss, top1, top5, ...outcome } = await own;
    const found = await gatherNumbers(this.#ranks!, [loss, top1, top5]);
    const sum = (at: number) => found.reduce((sum, numbers) => sum + numbers[at], 0);
    return { ...outcome, loss: sum(0) / found.length, top1: sum(1), top5: sum(2) } as Result;
  }

  /** Begins with the weights of the first rank, where there are several, and fails where they do not do the same. */
  async joinRanks(): Promise<void> {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    const { start, batchesPerEpoch, classes, terms, options } = this.#config;
    const { batchSize, epochs, evaluate, optimizer, resume } = options;
    await requireSame(this.#ranks!, {
      ...await programFacts(options),
      ...factsOf(terms),
      "--epochs": epochs,
      "--batch-size": batchSize,
      "--optimizer": optimizer,
      "--evaluate": evaluate,
      "its batches": batchesPerEpoch,
      "where it begins": start,
      "the checkpoint that it goes on from": resume && await fingerprintFile(resume),
      "classes": classes,
    });
    const lasting = this.#step.stores.flatMap(lastingBuffers);
    await requireSameLayout(this.#ranks!, lasting);
    await exchange.broadcast(lasting);
    await this.#requireSameWeights(exchange);
  }

  async #requireSameWeights(exchange: DeviceExchange): Promise<void> {
    const weights = await this.#step.saveArena("parameter");
    if (await exchange.isSame(weights.values())) return;
    const { epoch, batch } = this.#steps.last;
    throw new UserError(
      `the weights of the ranks are not the same after epoch ${epoch}, batch ${batch}: a device or the library of MPI computes ` +
        "differently on some of them. Resume the run from an earlier checkpoint, without that machine",
    );
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
    if (purpose !== "train" && this.#ranks !== undefined) await this.#tallyTests(this.#ranks);
    const [score = { loss: NaN, top1: 0, top5: 0 }] = (purpose === "train" ? this.#trained : this.#tested)
      .scores();
    return score;
  }

  /** Adds up how all ranks classified the test images; they tell each other what they wish, too. */
  async #tallyTests(ranks: RankPeers): Promise<void> {
    const { images, sums: [{ loss, top1, top5 } = { loss: 0, top1: 0, top5: 0 }] } = this.#tested;
    const { save, stop } = this.#wishes;
    this.#wishes = NO_WISHES;
    this.#haveMetLast = this.#steps.next.epoch >= this.#config.options.epochs;
    const found = await gatherNumbers(ranks, [images, loss, top1, top5, Number(save), Number(stop)]);
    const [count, ...sums] = [0, 1, 2, 3, 4, 5].map((at) => found.reduce((sum, of) => sum + of[at], 0));
    if (count === 0) throw new UserError(noImages(this.#config.options.testData));
    this.#tested.restore(count, [{ loss: sums[0], top1: sums[1], top5: sums[2] }]);
    this.#agreed = { save: sums[3] > 0, stop: sums[4] > 0 };
  }

  /** Takes the weights of now for the queries to come. */
  async freeze(context: ActorContext<FinetuneTrainer>): Promise<void> {
    this.#tested = new Tally();
    if (this.#exchange !== undefined) {
      // The others may have ended already.
      if (this.#end === "now") await context.wait(new Promise<never>(() => {}));
      await this.#requireSameWeights(this.#exchange);
      // The first rank's running statistics are what a checkpoint has.
      await this.#exchange.broadcast(this.#step.stores.flatMap(({ arenas }) => arenas.get("running") ?? []));
    }
    const values = await this.#readFinite();
    try {
      await this.#frozen.load((key) => values.get(key)!);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      // Finite weights can be too large when batch norm is folded into them.
      const { epoch } = this.#steps.next;
      const text = `training has diverged by epoch ${epoch}: ${error.message}; ${this.#steps.advise()}`;
      throw new UserError(text, { cause: error });
    }
  }

  /** The last epoch is tested. */
  async note({ best, top1, isBest }: { best: number; top1: number; isBest: boolean }): Promise<void> {
    this.#isNew ||= !this.#isTested || best !== this.#best;
    this.#best = best;
    this.#isTested = true;
    if (isBest) await this.#write(join(this.#config.options.output, BEST_CHECKPOINT), top1);
    const { save, stop } = this.#agreed;
    this.#agreed = NO_WISHES;
    if (stop) this.#end = "after saving";
    if (save || stop) await this.#saveAndTell();
  }

  /**
   * Writes what is new, now or after the last of the batches that accumulate. What ends all of several ranks is written when they
   * meet next: after a step, or after a test, until the last one.
   */
  async save({ ends }: { ends: boolean }): Promise<WrittenCheckpoint | "later"> {
    if (this.#exchange !== undefined && ends && this.#end !== "now" && !this.#haveMetLast) {
      this.#wishes = { save: true, stop: true };
      return "later";
    }
    this.#end = ends ? "after saving" : this.#end;
    return this.#steps.maySave() ? await this.#save() : "later";
  }

  async #saveAndTell(): Promise<void> {
    const saved = await this.#save();
    await this.#config.monitor.tell("event", { type: "saved", ...saved, ends: this.#end === "now" });
  }

  /** Writes what is new. */
  async #save(): Promise<WrittenCheckpoint> {
    if (this.#end === "after saving") this.#end = "now";
    const { next: { epoch, batch }, step } = this.#steps;
    if (!this.#isNew) return { path: this.#written ?? null, step };
    const path = join(
      this.#config.options.output,
      finetuneCheckpointName(batch === 0 ? epoch - 1 : epoch),
    );
    await this.#write(path);
    this.#isNew = false;
    this.#written = path;
    return { path, step };
  }

  /** How long each kernel takes. */
  profile(): Promise<ProgramProfile[]> {
    const { program } = this.#frozen;
    const programs = [...this.#step.programs, program];
    return profileAll(Object.fromEntries(programs.map((program) => [program.label, program])));
  }

  /** Reads all weights; fails where it is not finite. */
  async #readFinite(): Promise<StateValues> {
    await this.#trainer.reported;
    const values = await this.#step.save();
    this.#steps.requireFinite("the", values);
    return values;
  }

  /** The first rank alone has files. */
  get #writes(): boolean {
    return (this.#ranks?.rank ?? 0) === 0;
  }

  /** @param best top-1 that the file says, in percent */
  async #write(path: string, best = this.#best): Promise<void> {
    if (!this.#writes) return await this.#trainer.reported;
    const { options, classes, batchesPerEpoch, start: { extraSteps }, terms } = this.#config;
    const { arch, momentum: share, weightDecay, imageSize, evalResize, batchSize, seed } = options;
    const values = await this.#readFinite();
    const optimizer = await saveOptimizer(
      options,
      (arena) => this.#step.saveArena(arena),
      (what, kept) => this.#steps.requireFinite(what, kept),
    );
    const encoder = findEncoder(arch);
    const { next, lossScale } = this.#steps;
    const { epoch, batch } = next;
    const rates = learningRatesOf(options, batchBefore(next, batchesPerEpoch), batchesPerEpoch);
    const [sums = { loss: 0, top1: 0, top5: 0 }] = this.#trained.sums;
    await this.#trainer.write(
      path,
      buildFinetuneCheckpoint({
        epoch,
        arch,
        ...classifierState(encoder, classes),
        values,
        optimizer,
        steps: this.#steps.changes,
        counters: this.#counters,
        sgd: [
          { lr: rates.lr, momentum: share, weightDecay },
          { lr: rates.lrLastLayer, momentum: share, weightDecay },
        ],
        best,
        progress: { isTested: this.#isTested, trained: { images: this.#trained.images, ...sums } },
        input: inputOf(encoder, { imageSize, ...resizedBy(evalResize) }, this.#input),
        resume: { batch, batchesPerEpoch, extraSteps, batchSize, seed, lossScale, terms },
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
  if (path === null) return { values: initialize(state, seed), optimizer: NO_OPTIMIZER, counters };
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
    return { values, optimizer: NO_OPTIMIZER, counters, normalization, input };
  }
  using file = await openCheckpointFile(resume);
  const saved = readFinetuneCheckpoint(file);
  await take(saved.tensors);
  const optimizer = await readOptimizer(path, saved);
  return {
    values,
    optimizer,
    counters,
    normalization,
    input,
    lossScale: resumedLossScale(options, saved.resume),
  };
}

export default defineTrainer<FinetuneTrainer, FinetuneTrainerConfig>(async (trainer, config, context) => {
  const { options, classes, ranks } = config;
  const { arch, batchSize, imageSize, syncBn } = options;
  const batch = rowsOf(batchSize, ranks);
  const exchange = ranks && new DeviceExchange(trainer.gpu, ranks, ranks.exchange, options.compress);
  const initial = await readInitialState(options, classes);
  const { values, normalization, optimizer } = initial;
  const lossScale = initial.lossScale ?? initialLossScale(options);
  const classifier = { encoder: findEncoder(arch), classes, batch, imageSize, normalization };
  const optimized = optimizedBy(options, lossScale, optimizer.steps);
  const step = await FinetuneStep.create(trainer.gpu, {
    ...classifier,
    ...optimized,
    // Each rank drops values of its own.
    dropoutSeed: optimized.dropoutSeed! + (ranks?.rank ?? 0),
    ranks: ranks?.size,
    syncBn,
  }, exchange);
  const frozen = await FrozenClassifier.create(trainer.gpu, classifier);
  await step.load((key) => values.get(key)!);
  for (const [arena, kept] of optimizer.arenas) step.loadArena(arena, kept);
  const finetuning = new Finetuning(config, trainer, step, frozen, { ...initial, lossScale }, exchange);
  await finetuning.joinRanks();

  return {
    connect: (peers) => trainer.connect(peers),
    encode: (batch) => finetuning.encode(batch),
    freeze: () => finetuning.freeze(context),
    finish: urgent(({ purpose, images }) => finetuning.finish(purpose, images, context)),
    note: (tested) => finetuning.note(tested),
    save: (how) => finetuning.save(how),
    profile: () => finetuning.profile(),
  };
});
