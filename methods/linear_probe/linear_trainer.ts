/**
 * Trains linear probes on the features of a frozen encoder, evaluates them, and writes checkpoints.
 *
 * Images to learn from (`train`) are trained on as they come. Those whose features are to be kept (`bank`) wait for
 * `trainOnKept`. Queries are classified as they come, or are kept too.
 */
import { join } from "node:path";
import type { Monitor } from "../../actors/events.ts";
import { LabelledFeatures } from "../../actors/labelled_features.ts";
import type { BatchPosition, EmbeddedBatch, Purpose } from "../../actors/messages.ts";
import { type ActorContext, type ActorRef, urgent } from "../../actors/runtime/mod.ts";
import { defineTrainer, type Trainer } from "../../actors/trainer.ts";
import { EpochOrder } from "../../data/sampler.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import type { NamedTensor } from "../../models/checkpoint/named_tensor.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { partsOf } from "../../models/encoder_parts.ts";
import type { SavedInput } from "../../models/checkpoint/saved_input.ts";
import { inputOf } from "../../models/encoder_input.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { initialize } from "../../models/initialize.ts";
import { findEncoder, usualHead } from "../../models/registry.ts";
import { type BatchResult, classLabelsOf, scoreOf, Tally } from "../classification.ts";
import { cropRatioOf } from "../encoder_views.ts";
import {
  buildLinearCheckpoint,
  type LinearCheckpoint,
  readLinearCheckpoint,
  type SavedProbe,
} from "./checkpoint.ts";
import type { LinearActorEvent } from "./events.ts";
import type { LinearProgress, LinearTrainer, ProbeScore } from "./messages.ts";
import type { LinearOptions } from "./options.ts";
import { type LabelledRows, LinearProbes } from "./step.ts";

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
  /** Settings that checkpoints store, so that a resume can verify that it continues the same evaluation. */
  terms?: readonly Term[];
  /** Receives events about steps. */
  monitor: ActorRef<Monitor<LinearActorEvent>>;
}

/** `lincls_checkpoint_0007.pth.tar` after epoch 7, as the original names it. */
export function linearCheckpointName(epoch: number): string {
  return `lincls_checkpoint_${String(epoch).padStart(4, "0")}.pth.tar`;
}

/** Name of the best one, as the original has it. */
export const BEST_CHECKPOINT = "model_best.pth.tar";

/** The end of an epoch, to be written. */
interface Noted {
  progress: LinearProgress;
  /** Of the chosen probe. */
  learningRate: number;
  probes: SavedProbe[];
}

/** The trainer's state. */
class ProbeTraining {
  readonly #config: LinearTrainerConfig;
  readonly #trainer: Trainer;
  readonly #probes: LinearProbes;
  #learningRates: number[];
  readonly #tallies = new Map<Purpose, Tally>();
  readonly #kept = new Map<Purpose, LabelledFeatures>();
  #consumed = Promise.withResolvers<void>();
  #noted?: Noted;
  /** The best epoch's, until it is written. */
  #best?: Noted;
  /** The checkpoint of this run that is on the disk. */
  #written?: string;

  constructor(config: LinearTrainerConfig, trainer: Trainer, probes: LinearProbes) {
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
    const isKept = purpose === "bank" || (purpose === "queries" && this.#config.keepsQueries);
    let told: Promise<void> | undefined;
    if (isKept) {
      const kept = this.#kept.get(purpose) ?? new LabelledFeatures(this.#config.features);
      this.#kept.set(purpose, kept);
      kept.add(features.slice(), labels);
    } else if (labels.length > 0) told = this.#submit(purpose, position, { features, labels });
    if (purpose !== "train") {
      void this.#config.monitor.tell("event", { type: "came", images: labels.length }).catch(() => {});
    }
    await this.#trainer.giveBack(batch);
    await told;
    this.#consumed.resolve();
    this.#consumed = Promise.withResolvers();
  }

  /** Trains on a batch, or classifies it, and has its results told of when they are there. */
  #submit(purpose: Purpose, position: BatchPosition, rows: LabelledRows): Promise<void> {
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
    for (;;) {
      await this.#trainer.reported;
      if (consumed() >= images) return this.#takeScores(purpose);
      await context.wait(this.#consumed.promise);
    }
  }

  #takeScores(purpose: Purpose): ProbeScore[] {
    const scores = this.#tallies.get(purpose)?.scores() ?? [];
    this.#tallies.delete(purpose);
    return scores;
  }

  /** One epoch over the kept features. */
  async trainOnKept(epoch: number, learningRates: number[]): Promise<ProbeScore[]> {
    this.begin(learningRates);
    await this.#replay("bank", "train", epoch);
    return this.#takeScores("train");
  }

  /** Classifies the kept queries. */
  async evaluateKept(): Promise<ProbeScore[]> {
    await this.#replay("queries", "queries", 0);
    return this.#takeScores("queries");
  }

  async #replay(from: Purpose, as: Purpose, epoch: number): Promise<void> {
    const { features: length, options: { seed, batchSize } } = this.#config;
    const kept = this.#kept.get(from)!;
    const { labels } = kept;
    const order = new EpochOrder(labels.length, seed, epoch, batchSize, {
      shuffle: as === "train",
      dropLast: false,
    });
    for (let batch = 0; batch < order.batchCount; batch++) {
      const rows = order.batch(batch);
      const features = new Float32Array(rows.length * length);
      for (const [i, row] of rows.entries()) features.set(kept.feature(row), i * length);
      await this.#submit(as, { epoch, batch, endsEpoch: batch === order.batchCount - 1 }, {
        features,
        labels: Array.from(rows, (row) => labels[row]),
      });
    }
    await this.#trainer.reported;
  }

  /** Copies the weights of every probe that has not diverged, for `save`. */
  async note(progress: LinearProgress): Promise<void> {
    const { lr } = this.#config.options;
    const probes: SavedProbe[] = [];
    for (const [i, rate] of lr.entries()) {
      const saved = { lr: rate, best: progress.best[i] };
      if (progress.diverged[i]) {
        probes.push({ ...saved, values: new Map(), momentum: new Map() });
        continue;
      }
      const [values, momentum] = [await this.#probes.save(i), await this.#probes.saveMomentum(i)];
      const explain = (problem: string) => `${problem}, with learning rate ${rate}; try a lower --lr`;
      this.#trainer.requireFinite([...values, ...momentum], explain);
      probes.push({ ...saved, values, momentum });
    }
    this.#noted = { progress, learningRate: this.#learningRates[progress.probe], probes };
    if (progress.isBest) this.#best = this.#noted;
  }

  /** Writes what is new; the checkpoint before it goes, since the whole backbone is in each. */
  async save(): Promise<string | null> {
    if (this.#noted === undefined) return null;
    const { output } = this.#config.options;
    if (this.#best !== undefined) {
      await this.#write(join(output, BEST_CHECKPOINT), this.#best);
      this.#best = undefined;
    }
    const path = join(output, linearCheckpointName(this.#noted.progress.epoch - 1));
    if (path === this.#written) return path;
    await this.#write(path, this.#noted);
    if (this.#written !== undefined) await Deno.remove(this.#written).catch(() => {});
    this.#written = path;
    return path;
  }

  async #write(
    path: string,
    { progress, learningRate, probes }: Noted,
  ): Promise<void> {
    const { options, classes, features, terms } = this.#config;
    const views = { imageSize: options.imageSize, cropRatio: cropRatioOf(options.evalResize) };
    const write = (backbone: LinearCheckpoint["backbone"], saved?: SavedInput) =>
      this.#trainer.write(
        path,
        buildLinearCheckpoint({
          epoch: progress.epoch,
          arch: options.arch,
          backbone,
          classes,
          features,
          probes,
          chosen: progress.probe,
          sgd: { lr: learningRate, momentum: options.momentum, weightDecay: options.weightDecay },
          input: inputOf(findEncoder(options.arch), views, saved),
          terms,
        }),
      );
    if (options.pretrained === null) await write(freshBackbone(options));
    else {
      using source = await openEncoderSource(options.pretrained, {
        arch: options.arch,
        which: options.which,
        weights: options.weights,
        part: "backbone",
      });
      await write(source.tensors, source.input);
    }
  }
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
  if (saved.classes !== classes || saved.features !== features) {
    throw new CheckpointError(
      path,
      `has a classifier of ${saved.classes} classes over ${saved.features} features, but the images have ${classes} ` +
        `classes and the encoder gives ${features} features; use that run's data and encoder, or set --classes`,
    );
  }
  for (const [i, rate] of lr.entries()) {
    const probe = saved.probes.find((candidate) => candidate.lr === rate);
    if (probe === undefined) {
      const found = saved.probes.map((candidate) => candidate.lr).join(",");
      throw new CheckpointError(path, `has no classifier for learning rate ${rate}; use --lr ${found}`);
    }
    if (probe.values.size === 0) { // it has diverged, and is trained in vain
      const fresh = initialize(probes.state, seed);
      await probes.load(i, (key) => fresh.get(key)!);
      continue;
    }
    await probes.load(i, (key) => probe.values.get(key)!);
    probes.loadMomentum(i, probe.momentum);
  }
}

export default defineTrainer<LinearTrainer, LinearTrainerConfig>(async (trainer, config, context) => {
  const { options, features, classes } = config;
  const probes = await LinearProbes.create(trainer.gpu, {
    features,
    classes,
    batch: options.batchSize,
    probes: options.lr.length,
    momentum: options.momentum,
    weightDecay: options.weightDecay,
  });
  if (options.resume === null) {
    // The same for each learning rate, so that nothing but the rate differs.
    const weights = initialize(probes.state, options.seed);
    for (const i of options.lr.keys()) await probes.load(i, (key) => weights.get(key)!);
  } else await loadProbes(probes, options.resume, config);
  const training = new ProbeTraining(config, trainer, probes);

  return {
    connect: (peers) => trainer.connect(peers),
    begin: ({ learningRates }) => training.begin(learningRates),
    consume: (batch) => training.consume(batch),
    finish: urgent(({ purpose, images }) => training.finish(purpose, images, context)),
    trainOnKept: ({ epoch, learningRates }) => training.trainOnKept(epoch, learningRates),
    evaluateKept: () => training.evaluateKept(),
    note: (progress) => training.note(progress),
    save: async () => ({ path: await training.save() }),
  };
});
