/**
 * Trains linear probes on the features of a frozen encoder, evaluates them, and writes checkpoints.
 *
 * Images to learn from (`train`) are trained on as they come. Those whose features are to be kept (`bank`) wait for
 * `trainOnKept`. Queries are classified as they come, or are kept too.
 */
import { join } from "node:path";
import type { StepCount } from "../../actors/batch_number.ts";
import type { Monitor } from "../../actors/events.ts";
import { LabelledFeatures } from "../../actors/labelled_features.ts";
import type { BatchPosition, EmbeddedBatch, Purpose } from "../../actors/messages.ts";
import { noImages } from "../../actors/data_facts.ts";
import { DeviceExchange, requireSameLayout } from "../../actors/ranks/device_exchange.ts";
import { gatherNumbers, type RankPeers, requireSame } from "../../actors/ranks/peers.ts";
import { shareOf } from "../../actors/ranks/ranks.ts";
import { type ActorContext, type ActorRef, urgent } from "../../actors/runtime/mod.ts";
import { defineTrainer, type Trainer } from "../../actors/trainer.ts";
import { fingerprintFile } from "../../data/fingerprint.ts";
import { EpochOrder } from "../../data/sampler.ts";
import { UserError } from "../../errors.ts";
import { BEST_CHECKPOINT, readBest } from "../../models/checkpoint/run_checkpoints.ts";
import { type CheckpointFile, openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import type { NamedTensor } from "../../models/checkpoint/named_tensor.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { partsOf } from "../../models/encoder_parts.ts";
import { inputOf } from "../../models/encoder_input.ts";
import { type EncoderSource, openEncoderSource } from "../../models/encoder_source.ts";
import { initialize } from "../../models/initialize.ts";
import { lastingBuffers } from "../../models/training_step.ts";
import { findEncoder, usualHead } from "../../models/registry.ts";
import { type BatchResult, classLabelsOf, scoreOf, Tally } from "../classification.ts";
import { resizedBy } from "../encoder_views.ts";
import { programFacts } from "../program_facts.ts";
import { factsOf } from "../terms.ts";
import { buildLinearCheckpoint, findProbes, readLinearCheckpoint, type SavedProbe } from "./checkpoint.ts";
import type { LinearActorEvent } from "./events.ts";
import type { LinearProgress, LinearTrainer, ProbeScore } from "./messages.ts";
import type { LinearOptions } from "./options.ts";
import { type LabelledRows, LinearProbes } from "./step.ts";

/** The other ranks of a linear evaluation, and what all of them must have in common. */
export interface RankOfEvaluation extends RankPeers {
  /** Images that are learnt from, of all ranks. */
  trainImages: number;
  /** The first epoch to come. */
  epoch: number;
}

/** Configuration of a `linear_trainer` actor. */
export interface LinearTrainerConfig {
  /** Options of the whole run. */
  options: LinearOptions;
  /** Length of a feature. */
  features: number;
  /** Number of classes; labels are 0 to classes - 1. */
  classes: number;
  /** Whether the features of the test images are kept, or classified as they arrive. */
  keepsQueries: boolean;
  /** Whether the run goes on from a checkpoint of another folder, where its best one so far is too. */
  isFromElsewhere: boolean;
  /** What checkpoints say of the steps. */
  steps?: StepCount;
  /** Settings that checkpoints store, so that a resume can verify that it continues the same evaluation. */
  terms?: readonly Term[];
  /** The other ranks, where several share every batch. The first one writes the checkpoints. */
  ranks?: RankOfEvaluation;
  /** Receives events about steps. */
  monitor: ActorRef<Monitor<LinearActorEvent>>;
}

/** `lincls_checkpoint_0007.pth.tar` after epoch 7, as the original names it. */
export function linearCheckpointName(epoch: number): string {
  return `lincls_checkpoint_${String(epoch).padStart(4, "0")}.pth.tar`;
}

/** The end of an epoch, to be written. */
interface Noted {
  /** Epochs done. */
  epoch: number;
  probes: SavedProbe[];
  /** Index of the one that the file is of. */
  chosen: number;
  /** Learning rate of that one in that epoch. */
  learningRate: number;
}

/** A probe as it was after its best epoch. */
interface BestOfProbe extends Pick<Noted, "epoch" | "learningRate"> {
  saved: SavedProbe;
}

/** What the best checkpoint holds. */
interface BestInFile {
  /** Index of its probe. */
  probe: number;
  /** Its accuracy, in percent. */
  top1: number;
}

/** The trainer's state. */
class ProbeTraining {
  readonly #config: LinearTrainerConfig;
  readonly #trainer: Trainer;
  readonly #probes: LinearProbes;
  readonly #exchange: DeviceExchange | undefined;
  readonly #source: EncoderSource | undefined;
  #learningRates: number[];
  readonly #tallies = new Map<Purpose, Tally>();
  readonly #kept = new Map<Purpose, LabelledFeatures>();
  /** Of what the last batch has been consumed. */
  readonly #ended = new Set<Purpose>();
  #consumed = Promise.withResolvers<void>();
  #saved: Promise<unknown> = Promise.resolve();
  #noted?: Noted;
  /** By index; of a run that goes on, of the epochs since then. */
  readonly #bestOf = new Map<number, BestOfProbe>();
  /** What the best checkpoint is to hold, until it is written. */
  #best?: Noted;
  /** What it then holds. */
  #inFile: BestInFile | undefined;
  /** The checkpoint that was written last. */
  #written?: string;

  constructor(
    config: LinearTrainerConfig,
    trainer: Trainer,
    probes: LinearProbes,
    exchange: DeviceExchange | undefined,
    source: EncoderSource | undefined,
    inFile: BestInFile | undefined,
  ) {
    this.#source = source;
    this.#inFile = inFile;
    this.#exchange = exchange;
    this.#config = config;
    this.#trainer = trainer;
    this.#probes = probes;
    this.#learningRates = config.options.lr;
  }

  begin(learningRates: number[]): void {
    this.#learningRates = learningRates;
  }

  async consume(batch: EmbeddedBatch): Promise<void> {
    const { position, purpose, images, embeddings } = batch;
    const labels = classLabelsOf(images, this.#config.classes);
    const features = new Float32Array(embeddings).subarray(0, labels.length * this.#config.features);
    let told: Promise<void> | undefined;
    if (this.#isKept(purpose)) {
      const kept = this.#kept.get(purpose) ?? new LabelledFeatures(this.#config.features);
      this.#kept.set(purpose, kept);
      kept.add(features.slice(), labels);
    } else if (labels.length > 0 || this.#isShared(purpose)) {
      told = this.#submit(purpose, position, { features, labels });
    }
    if (purpose !== "train") {
      void this.#config.monitor.tell("event", { type: "came", images: labels.length }).catch(() => {});
    }
    await this.#trainer.giveBack(batch);
    await told;
    if (position.endsEpoch) this.#ended.add(purpose);
    this.#consumed.resolve();
    this.#consumed = Promise.withResolvers();
  }

  #isKept(purpose: Purpose): boolean {
    return purpose === "bank" || (purpose === "queries" && this.#config.keepsQueries);
  }

  /** Whether every rank takes part in each batch, one that has none of its images too. */
  #isShared(purpose: Purpose): boolean {
    return this.#exchange !== undefined && purpose === "train";
  }

  /** Trains on a batch, or classifies it, and has its results told of when they are there. */
  #submit(purpose: Purpose, position: BatchPosition, rows: LabelledRows): Promise<void> {
    if (this.#isShared(purpose)) return this.#trainShared(position, rows);
    const learningRates = this.#learningRates;
    const results = purpose === "train"
      ? this.#probes.train(rows, learningRates)
      : this.#probes.evaluate(rows);
    return this.#trainer.report(async (before) => {
      const found = await results;
      await before;
      await this.#report(purpose, position, rows.labels.length, learningRates, found);
    });
  }

  /** Trains on this rank's part of a batch: the step is that of the whole batch, whatever each rank has of it. */
  async #trainShared(position: BatchPosition, rows: LabelledRows): Promise<void> {
    const { options: { batchSize }, ranks } = this.#config;
    const images = Math.min(batchSize, ranks!.trainImages - position.batch * batchSize);
    const learningRates = this.#learningRates;
    this.#exchange!.weight = rows.labels.length / images;
    const own = new Tally();
    own.add(rows.labels.length, await this.#probes.train(rows, learningRates));
    const { sums } = await this.#ofAll(own);
    const results = sums.map(({ loss, ...counts }) => ({ loss: loss / images, ...counts }));
    await this.#report("train", position, images, learningRates, results);
  }

  /** The sums of all ranks. */
  async #ofAll({ images, sums }: Tally): Promise<Tally> {
    const { ranks, options: { lr } } = this.#config;
    const own = lr.map((_, i) => sums[i] ?? { loss: 0, top1: 0, top5: 0 });
    const found = await gatherNumbers(ranks!, [
      images,
      ...own.flatMap(({ loss, top1, top5 }) => [loss, top1, top5]),
    ]);
    const sum = (at: number) => found.reduce((sum, numbers) => sum + numbers[at], 0);
    const all = new Tally();
    all.restore(
      sum(0),
      lr.map((_, i) => ({ loss: sum(3 * i + 1), top1: sum(3 * i + 2), top5: sum(3 * i + 3) })),
    );
    return all;
  }

  async #report(
    purpose: Purpose,
    position: BatchPosition,
    images: number,
    learningRates: number[],
    results: readonly BatchResult[],
  ): Promise<void> {
    const tally = this.#tallies.get(purpose) ?? new Tally();
    this.#tallies.set(purpose, tally);
    tally.add(images, results);
    if (purpose !== "train") return;
    const scores = results.map((result) => scoreOf(result, images));
    await this.#config.monitor.tell("event", { type: "batch", ...position, scores, learningRates });
  }

  async finish(
    purpose: Purpose,
    images: number,
    context: ActorContext<LinearTrainer>,
  ): Promise<ProbeScore[]> {
    const consumed = () =>
      (this.#kept.get(purpose)?.labels.length ?? 0) + (this.#tallies.get(purpose)?.images ?? 0);
    // The last of a rank's batches may be without an image.
    const isOver = () => this.#exchange === undefined ? consumed() >= images : this.#ended.has(purpose);
    for (;;) {
      await this.#trainer.reported;
      if (isOver()) {
        this.#ended.delete(purpose);
        return this.#isKept(purpose) ? [] : await this.#takeScores(purpose);
      }
      await context.wait(this.#consumed.promise);
    }
  }

  async #takeScores(purpose: Purpose): Promise<ProbeScore[]> {
    const own = this.#tallies.get(purpose) ?? new Tally();
    this.#tallies.delete(purpose);
    if (this.#exchange === undefined || purpose === "train") return own.scores();
    const all = await this.#ofAll(own);
    if (all.images === 0) throw new UserError(noImages(this.#config.options.testData));
    return all.scores();
  }

  /** One epoch over the kept features. */
  async trainOnKept(epoch: number, learningRates: number[]): Promise<ProbeScore[]> {
    this.begin(learningRates);
    await this.#replay("bank", "train", epoch);
    return await this.#takeScores("train");
  }

  /** Classifies the kept queries. */
  async evaluateKept(): Promise<ProbeScore[]> {
    await this.#replay("queries", "queries", 0);
    return await this.#takeScores("queries");
  }

  async #replay(from: Purpose, as: Purpose, epoch: number): Promise<void> {
    const { features: length, options: { seed, batchSize } } = this.#config;
    const kept = this.#kept.get(from) ?? new LabelledFeatures(length);
    const { labels } = kept;
    const { ranks } = this.#config;
    const placeOf = this.#isShared(as) ? this.#ownPlaces() : undefined;
    if (labels.length === 0 && placeOf === undefined && ranks !== undefined) return; // other ranks have some
    const count = placeOf === undefined ? labels.length : ranks!.trainImages;
    const order = new EpochOrder(count, seed, epoch, batchSize, {
      shuffle: as === "train",
      dropLast: false,
    });
    for (let batch = 0; batch < order.batchCount; batch++) {
      const places = order.batch(batch);
      const rows = placeOf === undefined
        ? places
        : places.filter((place) => placeOf.has(place)).map((place) => placeOf.get(place)!);
      const features = new Float32Array(rows.length * length);
      for (const [i, row] of rows.entries()) features.set(kept.feature(row), i * length);
      await this.#submit(as, { epoch, batch, endsEpoch: batch === order.batchCount - 1 }, {
        features,
        labels: Array.from(rows, (row) => labels[row]),
      });
    }
    await this.#trainer.reported;
  }

  /** The places among the images to learn from of those that this rank has kept, and which of its own each one is. */
  #ownPlaces(): ReadonlyMap<number, number> {
    const { ranks, options: { batchSize } } = this.#config;
    const inOrder = { shuffle: false, dropLast: false, share: shareOf(ranks) };
    const order = new EpochOrder(ranks!.trainImages, 0, 0, batchSize, inOrder);
    const places = Array.from({ length: order.batchCount }, (_, batch) => [...order.batch(batch)]).flat();
    return new Map(places.map((place, i) => [place, i]));
  }

  /** Copies the weights of every probe that has not diverged, for `save`. */
  async note(progress: LinearProgress): Promise<void> {
    const { lr } = this.#config.options;
    const probes: SavedProbe[] = [];
    for (const [i, rate] of lr.entries()) {
      const saved = { lr: rate, best: progress.best[i] };
      if (progress.diverged[i]) {
        probes.push({ ...saved, values: new Map(), momentum: new Map() });
        this.#bestOf.delete(i);
        continue;
      }
      const [values, momentum] = [await this.#probes.save(i), await this.#probes.saveMomentum(i)];
      const explain = (problem: string) => `${problem}, with learning rate ${rate}; try a lower --lr`;
      this.#trainer.requireFinite([...values, ...momentum], explain);
      probes.push({ ...saved, values, momentum });
      const best = progress.tested[i];
      if (best > (this.#bestOf.get(i)?.saved.best ?? -Infinity)) {
        const { epoch } = progress;
        const learningRate = this.#learningRates[i];
        this.#bestOf.set(i, { epoch, learningRate, saved: { lr: rate, best, values, momentum } });
      }
    }
    const weights = probes.flatMap(({ values }) => [...values.values()]);
    if (this.#exchange !== undefined && !await this.#exchange.isSame(weights)) {
      throw new UserError(
        `the classifiers of the ranks are not the same after epoch ${
          progress.epoch - 1
        }: a device or the library of MPI ` +
          "computes differently on some of them. Resume from an earlier checkpoint, without that machine",
      );
    }
    const { epoch, probe: chosen } = progress;
    this.#noted = { epoch, probes, chosen, learningRate: this.#learningRates[chosen] };
    this.#noteBest(this.#noted);
  }

  /** Has the best checkpoint written where the chosen probe is better than what it holds, or another one than that is chosen. */
  #noteBest({ epoch, probes, chosen }: Noted): void {
    const best = this.#bestOf.get(chosen)!;
    const top1 = best.saved.best;
    if (this.#inFile?.probe === chosen && this.#inFile.top1 >= top1) return;
    this.#inFile = { probe: chosen, top1 };
    // Of an earlier epoch the others are not known any more.
    this.#best = best.epoch === epoch
      ? { ...best, probes: probes.with(chosen, best.saved), chosen }
      : { ...best, probes: [best.saved], chosen: 0 };
  }

  /** Writes what is new. */
  save(): Promise<string | null> {
    const saved = this.#saved.then(() => this.#save());
    this.#saved = saved.catch(() => {});
    return saved;
  }

  async #save(): Promise<string | null> {
    // Another epoch may be noted while these are written.
    const [noted, best] = [this.#noted, this.#best];
    if (noted === undefined) return null;
    this.#best = undefined;
    const { output } = this.#config.options;
    if (best !== undefined) await this.#write(join(output, BEST_CHECKPOINT), best);
    const path = join(output, linearCheckpointName(noted.epoch - 1));
    if (path === this.#written) return path;
    await this.#write(path, noted);
    this.#written = path;
    return path;
  }

  async #write(
    path: string,
    { epoch, learningRate, probes, chosen }: Noted,
  ): Promise<void> {
    const { options, classes, features, steps, terms } = this.#config;
    const views = { imageSize: options.imageSize, ...resizedBy(options.evalResize) };
    await this.#trainer.write(
      path,
      buildLinearCheckpoint({
        epoch,
        arch: options.arch,
        backbone: this.#source?.tensors ?? freshBackbone(options),
        classes,
        features,
        probes,
        chosen,
        sgd: { lr: learningRate, momentum: options.momentum, weightDecay: options.weightDecay },
        input: inputOf(findEncoder(options.arch), views, this.#source?.input),
        steps,
        terms,
      }),
    );
  }
}

/**
 * Opens the frozen encoder for checkpoints; nothing where it is drawn from the seed. Its file stays open: all have the encoder that
 * the evaluation began with, whatever takes the file's place meanwhile.
 */
async function openSource(
  trainer: Trainer,
  { pretrained, arch, which, weights }: LinearOptions,
): Promise<EncoderSource | undefined> {
  if (pretrained === null) return undefined;
  return trainer.keep(await openEncoderSource(pretrained, { arch, which, weights, part: "backbone" }));
}

/** The weights that an untrained encoder has from its seed. */
export function freshBackbone({ arch, seed }: LinearOptions): NamedTensor[] {
  const encoder = findEncoder(arch);
  const { backbone } = partsOf(encoder, usualHead(encoder));
  const values = initialize(backbone, seed);
  return backbone.map(({ key, shape, kind }) =>
    kind === "counter"
      ? { key, shape, dtype: "int64", data: BigInt64Array.of(0n) }
      : { key, shape, data: values.get(key)! }
  );
}

/** Gives each learning rate the probe that the checkpoint has for it. */
async function loadProbes(
  probes: LinearProbes,
  path: string,
  { options: { lr, seed }, classes, features }: LinearTrainerConfig,
): Promise<void> {
  using file = await openCheckpointFile(path);
  const saved = await readLinearCheckpoint(file, lr[0]);
  for (const [i, probe] of findProbes(path, saved, { lr, classes, features }).entries()) {
    if (probe.values.size === 0) { // it has diverged, and is trained in vain
      const fresh = initialize(probes.state, seed);
      await probes.load(i, (key) => fresh.get(key)!);
      continue;
    }
    await probes.load(i, (key) => probe.values.get(key)!);
    probes.loadMomentum(i, probe.momentum);
  }
}

/**
 * Finds out what the best checkpoint of a run that is resumed holds. It lies in the folder of the run, or beside the
 * checkpoint of another folder, which then says its accuracy.
 *
 * @returns `undefined` where there is none, or it is of another learning rate
 */
async function findBest(
  { options: { output, resume, lr }, isFromElsewhere }: LinearTrainerConfig,
): Promise<BestInFile | undefined> {
  const read = async (file: CheckpointFile): Promise<BestInFile | undefined> => {
    const { probes, chosen } = await readLinearCheckpoint(file, lr[0]);
    const bests = lr.map((rate) => {
      const probe = probes.find((candidate) => candidate.lr === rate);
      return probe === undefined || probe.values.size === 0 ? -Infinity : probe.best;
    });
    const probe = chosen === undefined ? bests.indexOf(Math.max(...bests)) : lr.indexOf(chosen);
    return probe < 0 ? undefined : { probe, top1: bests[probe] };
  };
  const found = await readBest(output, read);
  if (found !== undefined || !isFromElsewhere) return found;
  using file = await openCheckpointFile(resume!);
  return await read(file);
}

export default defineTrainer<LinearTrainer, LinearTrainerConfig>(async (trainer, config, context) => {
  const { options, features, classes, ranks, terms } = config;
  const source = await openSource(trainer, options);
  const exchange = ranks && new DeviceExchange(trainer.gpu, ranks, ranks.exchange);
  const probes = await LinearProbes.create(trainer.gpu, {
    features,
    classes,
    batch: options.batchSize,
    probes: options.lr.length,
    momentum: options.momentum,
    weightDecay: options.weightDecay,
  }, exchange);
  let inFile: BestInFile | undefined;
  if (options.resume === null) {
    // The same for each learning rate, so that nothing but the rate differs.
    const weights = initialize(probes.state, options.seed);
    for (const i of options.lr.keys()) await probes.load(i, (key) => weights.get(key)!);
  } else {
    await loadProbes(probes, options.resume, config);
    if (!options.evaluate) inFile = await findBest(config);
  }
  if (ranks !== undefined) {
    const { batchSize, epochs, lr, evaluate } = options;
    await requireSame(ranks, {
      ...await programFacts(options),
      ...factsOf(terms),
      "--epochs": epochs,
      "--batch-size": batchSize,
      "--lr": lr,
      "--evaluate": evaluate,
      "its images": ranks.trainImages,
      "where it begins": ranks.epoch,
      "the checkpoint that it goes on from": options.resume && await fingerprintFile(options.resume),
      "classes": classes,
    });
    const lasting = probes.stores.flatMap(lastingBuffers);
    await requireSameLayout(ranks, lasting);
    await exchange!.broadcast(lasting);
  }
  const training = new ProbeTraining(config, trainer, probes, exchange, source, inFile);
  const save = async () => ({ path: await training.save() });

  return {
    connect: (peers) => trainer.connect(peers),
    begin: ({ learningRates }) => training.begin(learningRates),
    consume: (batch) => training.consume(batch),
    finish: urgent(({ purpose, images }) => training.finish(purpose, images, context)),
    // Who stops the run need not wait for the end of an epoch that is then no part of it.
    trainOnKept: urgent(({ epoch, learningRates }) => training.trainOnKept(epoch, learningRates)),
    evaluateKept: urgent(() => training.evaluateKept()),
    note: (progress) => training.note(progress),
    // Others may have ended, and a batch never comes to its end: what is saved was noted before.
    save: ranks === undefined ? save : urgent(save),
  };
});
