/** The library's way in: what the command line does, for programs. Every option has the command line's default. */
import { Run, type RunSettings } from "../actors/run.ts";
import type { Accuracy } from "../actors/messages.ts";
import { resolveDataset } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";
import { describeOtherHeads, openEncoderSource } from "../models/encoder_source.ts";
import type { Stem } from "../models/encoder.ts";
import { findEncoder } from "../models/registry.ts";
import { type AskedViews, chooseViews } from "./encoder_views.ts";
import {
  EMBED_DEFAULTS,
  type EmbeddedRows,
  type EmbeddingOptions,
  type EmbeddingResult,
  type EmbedEvent,
  runEmbedding,
} from "./embedding.ts";
import { KNN_DEFAULTS, type KnnEvent, type KnnOptions, runKnnEvaluation } from "./knn.ts";
import type { LinearEvent } from "./linear_probe/events.ts";
import type { LinearInput, LinearSettings } from "./linear_probe/mod.ts";
import type { LinearOptions } from "./linear_probe/options.ts";
import type { LinearResult } from "./linear_probe/run.ts";
import { findBoth } from "./find_both.ts";
import { startMethod, withPlugins } from "./method.ts";
import { dataAt, given } from "./permissions.ts";
import type { DistillEvent } from "./seed/events.ts";
import { METHODS } from "./registry.ts";
import type { DistillInput, DistillSettings } from "./seed/mod.ts";
import type { DistillResult } from "./seed/run.ts";

/**
 * Distils a teacher into a student. A run that is stopped saves a checkpoint of where training is.
 *
 * @throws {StoppedError} in the run's result, where it is stopped: it names that checkpoint, its `cause` is the reason
 * @throws {FolderLostError} in the run's result, where the output folder is removed, moved or replaced
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 * @throws {ActorCrash} there, when an actor fails more often than `maxRestarts` allows
 */
export function distill(
  input: DistillInput,
  settings: DistillSettings = {},
): Run<DistillEvent, DistillResult> {
  return startMethod(METHODS.seed, input, settings);
}

/**
 * Evaluates an encoder by linear classifiers on its frozen features. A run that is stopped saves a checkpoint of the last
 * whole epoch.
 *
 * @throws {StoppedError} in the run's result, where it is stopped: it names that checkpoint, its `cause` is the reason
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 */
export function linearProbe(
  input: LinearInput,
  settings: LinearSettings = {},
): Run<LinearEvent, LinearResult> {
  return startMethod(METHODS.linear_probe, input, settings);
}

/** The encoder and the images, by the names of the command line; all else has a default. */
export interface KnnInput extends AskedViews, Pick<KnnOptions, "maxPixels" | "actors" | "plugins"> {
  /** Checkpoint of the encoder; left out or `null` for fresh weights of `arch`. */
  pretrained?: string | null;
  /** Name of the encoder; found out where a checkpoint has it. */
  arch?: string;
  /** First layers of the encoder, `imagenet` or `cifar`; found out where a checkpoint has it. */
  stem?: Stem;
  /** Which encoder of a distillation's checkpoint; the student by default. */
  which?: LinearOptions["which"];
  /** What stands before the encoder's keys, where its file holds several encoders. */
  weights?: string;
  /** Seed of fresh weights. */
  seed?: number;
  /** Images that vote, and those to be classified where `testData` is left out. */
  data: string;
  /** Images to be classified. */
  testData?: string;
  /** Neighbours that vote; each number is evaluated. */
  knnK?: readonly number[];
  /** Temperature of their votes. */
  knnT?: number;
}

/**
 * Evaluates an encoder by the nearest neighbours of its pooled features. The result has one accuracy a number of neighbours.
 *
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 */
export function knn(input: KnnInput, settings?: RunSettings): Run<KnnEvent, Accuracy[]> {
  const { pretrained = null, arch, stem, which, weights, seed, data, testData, knnK, knnT, ...rest } = {
    ...KNN_DEFAULTS,
    ...input,
  };
  const needs = () => ({
    decodes: true,
    computes: true,
    read: testData === undefined ? [data, ...given(pretrained)] : dataAt(data, testData, pretrained),
  });
  const work = async (tell: (event: KnnEvent) => void, signal: AbortSignal) => {
    using source = pretrained === null
      ? null
      : await openEncoderSource(pretrained, { arch, stem, which, weights, part: "backbone" });
    const name = source?.encoder.name ?? (arch && findEncoder(arch, stem).name);
    if (name === undefined) {
      throw new UserError("arch: expected the name of an encoder, or a checkpoint, pretrained");
    }
    const encoder = pretrained === null
      ? { arch: name, seed }
      : { arch: name, path: pretrained, which, weights };
    const images = await findBoth({ data, testData });
    const { note, ...views } = chooseViews(source, input, images.data);
    for (const text of [source && describeOtherHeads(pretrained!, source), note]) {
      if (text) tell({ type: "note", text });
    }
    const vote = { bankData: images.data, queryData: images.testData, ks: knnK, temperature: knnT };
    return await runKnnEvaluation(encoder, { ...rest, ...views, ...vote }, tell, signal);
  };
  return new Run(withPlugins(input.plugins, needs, work), settings);
}

/** The checkpoint of an encoder, and images; all else has a default. */
export type EmbedInput =
  & { pretrained: string; which?: LinearOptions["which"]; arch?: string; stem?: Stem; weights?: string }
  & Pick<EmbeddingOptions, "data">
  & Partial<Omit<EmbeddingOptions, "encoder" | "dimension">>;

/** One image's embedding. */
export interface EmbeddedRow {
  /** Number of its row, from 0. */
  row: number;
  /** Key of its row. */
  name: string;
  /** -1 where there is none. */
  label: number;
  /** Float32 [dimension]. */
  embedding: Float32Array<ArrayBuffer>;
}

/** An embedding under way. */
export class EmbedRun extends Run<EmbedEvent, EmbeddingResult> {
  /** The batches that are embedded from now on. */
  batches(): ReadableStream<EmbeddedRows> {
    return this.stream().pipeThrough(
      new TransformStream<EmbedEvent, EmbeddedRows>({
        transform(event, controller) {
          if (event.type === "rows") controller.enqueue(event);
        },
      }),
    );
  }

  /** The rows that are embedded from now on, one by one. */
  rows(): ReadableStream<EmbeddedRow> {
    return this.batches().pipeThrough(
      new TransformStream<EmbeddedRows, EmbeddedRow>({
        transform({ rows, names, labels, embeddings }, controller) {
          const dimension = embeddings.length / rows.length;
          for (const [i, row] of rows.entries()) {
            const embedding = embeddings.slice(i * dimension, (i + 1) * dimension);
            controller.enqueue({ row, name: names[i], label: labels[i], embedding });
          }
        },
      }),
    );
  }
}

/**
 * Embeds every image of some data.
 *
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 */
export function embed(
  { pretrained, which, arch, stem, weights, ...input }: EmbedInput,
  settings?: RunSettings,
): EmbedRun {
  const needs = () => ({ decodes: true, computes: true, read: [...dataAt(input.data), pretrained] });
  const work = async (tell: (event: EmbedEvent) => void, signal: AbortSignal) => {
    const data = await resolveDataset(input.data, "train");
    const part = input.part ?? EMBED_DEFAULTS.part;
    using source = await openEncoderSource(pretrained, { arch, stem, which, weights, part });
    const dimension = part === "backbone" ? source.encoder.features : source.head.dimension;
    const encoder = { path: pretrained, arch: source.encoder.name, which, weights };
    const { note, ...views } = chooseViews(source, input, data);
    if (note !== undefined) tell({ type: "note", text: note });
    return await runEmbedding(
      { ...EMBED_DEFAULTS, ...input, ...views, part, data, dimension, encoder },
      tell,
      signal,
    );
  };
  return new EmbedRun(withPlugins(input.plugins, needs, work), settings);
}
