/**
 * Judges an encoder's pooled features by weighted kNN: the pictures of the bank vote for the class of each query.
 *
 * Pictures come through a reader and an augmenter of the evaluation's own, next to training and not instead of it.
 */
import { openGpu } from "../kernels/gpu.ts";
import type { Tuning } from "../kernels/tuning/tuning.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import { FrozenEncoder } from "../models/inference.ts";
import { type KnnAccuracy, WeightedKnn } from "../models/knn.ts";
import { initialize } from "../models/initialize.ts";
import { findEncoder, summarize, usualHead } from "../models/registry.ts";
import { buffersOf } from "./buffers.ts";
import { LabelledFeatures, labelsOf } from "./labelled_features.ts";
import type { EvaluatedEncoder, Evaluator, TsvReader, ViewBatch } from "./messages.ts";
import { type ActorRef, defineActor, urgent } from "./runtime/mod.ts";

/** How an evaluator is started. */
export interface EvaluatorConfig {
  /** Pictures of a batch. */
  batchSize: number;
  /** Side of a view, in pixels. */
  imageSize: number;
  /** Numbers of neighbours that vote; each is judged. */
  ks: readonly number[];
  /** Temperature of their votes. */
  temperature: number;
  /** What was measured of the adapter. */
  tuning?: Tuning | null;
  /** Whom the buffers go back to. */
  readers: ActorRef<TsvReader>[];
}

export default defineActor<Evaluator, EvaluatorConfig>(async (config, context) => {
  const { batchSize, imageSize, ks, temperature, tuning, readers } = config;
  const gpu = await openGpu(context.name, tuning);
  context.onStop(() => gpu.destroy());
  let encoder: FrozenEncoder | undefined;
  let sets = { bank: new LabelledFeatures(0), queries: new LabelledFeatures(0) };
  let onProgress = Promise.withResolvers<void>();

  async function load(source: EvaluatedEncoder): Promise<FrozenEncoder> {
    const options = {
      encoder: findEncoder(source.arch),
      batch: batchSize,
      imageSize,
      output: "feature" as const,
    };
    if ("path" in source) {
      using file = await openEncoderSource(source.path, { ...source, part: "backbone" });
      const frozen = await FrozenEncoder.create(gpu, { ...options, head: file.head });
      await frozen.load(file.read);
      return frozen;
    }
    const values = "seed" in source
      ? initialize(summarize(options.encoder, usualHead(options.encoder), 64).state, source.seed)
      : new Map(source.values);
    const frozen = await FrozenEncoder.create(gpu, { ...options, head: { kind: "linear", dimension: 1 } });
    await frozen.load((key) => values.get(key)!);
    return frozen;
  }

  async function embed({ pictures, purpose, views }: ViewBatch): Promise<void> {
    const features = await encoder!.embed(views);
    const set = sets[purpose === "bank" ? "bank" : "queries"];
    set.add(features.slice(0, pictures.count * encoder!.dimension), labelsOf(pictures));
  }

  return {
    handlers: {
      async use(source) {
        encoder?.[Symbol.dispose]();
        encoder = await load(source);
        const { dimension } = encoder;
        sets = { bank: new LabelledFeatures(dimension), queries: new LabelledFeatures(dimension) };
      },

      async encode(batch) {
        await embed(batch);
        await readers.find(({ name }) => name === batch.home)!.tell("recycle", buffersOf(batch));
        onProgress.resolve();
        onProgress = Promise.withResolvers();
      },

      score: urgent(async (expected) => {
        const { bank, queries } = sets;
        while (bank.labels.length < expected.bank || queries.labels.length < expected.queries) {
          await context.wait(onProgress.promise);
        }
        const classes = [...bank.labels, ...queries.labels].reduce((most, label) =>
          Math.max(most, label), 0) + 1;
        const features = queries.concatenate();
        const accuracies: KnnAccuracy[] = [];
        for (const k of ks) {
          using knn = new WeightedKnn(gpu, { dimension: bank.dimension, classes, k, temperature });
          let at = 0;
          for (const chunk of bank.chunks) {
            const rows = chunk.length / bank.dimension;
            await knn.addToBank(chunk, bank.labels.slice(at, at + rows));
            at += rows;
          }
          accuracies.push(await knn.accuracy(features, queries.labels));
        }
        return accuracies;
      }),
    },
  };
});
