/** The library's way in: what the command line does, for programs. Every option has the command line's default. */
import { Run, type RunSettings } from "../actors/run.ts";
import type { Accuracy, EvaluatedEncoder } from "../actors/messages.ts";
import { resolveDataset } from "../data/open_dataset.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import { chooseViews } from "./encoder_views.ts";
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
import { startMethod, withPlugins } from "./method.ts";
import { dataAt } from "./permissions.ts";
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

/** The encoder and the images; all else has a default. */
export type KnnInput =
  & { encoder: EvaluatedEncoder }
  & Pick<KnnOptions, "bankData" | "queryData">
  & Partial<KnnOptions>;

/**
 * Evaluates an encoder by the nearest neighbours of its pooled features. The result has one accuracy a number of neighbours.
 *
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 */
export function knn({ encoder, ...input }: KnnInput, settings?: RunSettings): Run<KnnEvent, Accuracy[]> {
  const needs = () => ({
    decodes: true,
    computes: true,
    read: [...dataAt(input.bankData, input.queryData), ..."path" in encoder ? [encoder.path] : []],
  });
  const work = async (tell: (event: KnnEvent) => void, signal: AbortSignal) => {
    using source = "path" in encoder
      ? await openEncoderSource(encoder.path, { ...encoder, part: "backbone" })
      : null;
    const { note, ...views } = chooseViews(source, input, input.bankData);
    if (note !== undefined) tell({ type: "note", text: note });
    return await runKnnEvaluation(encoder, { ...KNN_DEFAULTS, ...input, ...views }, tell, signal);
  };
  return new Run(withPlugins(input.plugins, needs, work), settings);
}

/** The checkpoint of an encoder, and images; all else has a default. */
export type EmbedInput =
  & { pretrained: string; which?: LinearOptions["which"]; arch?: string; weights?: string }
  & Pick<EmbeddingOptions, "data">
  & Partial<Omit<EmbeddingOptions, "encoder" | "dimension">>;

/** An embedding under way. */
export class EmbedRun extends Run<EmbedEvent, EmbeddingResult> {
  /** The embedded rows from now on. */
  rows(): ReadableStream<EmbeddedRows> {
    return this.stream().pipeThrough(
      new TransformStream<EmbedEvent, EmbeddedRows>({
        transform(event, controller) {
          if (event.type === "rows") controller.enqueue(event);
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
  { pretrained, which, arch, weights, ...input }: EmbedInput,
  settings?: RunSettings,
): EmbedRun {
  const needs = () => ({ decodes: true, computes: true, read: [...dataAt(input.data), pretrained] });
  const work = async (tell: (event: EmbedEvent) => void, signal: AbortSignal) => {
    const data = await resolveDataset(input.data, "train");
    const output = input.output ?? EMBED_DEFAULTS.output;
    const part = output === "feature" ? "backbone" : "encoder";
    using source = await openEncoderSource(pretrained, { arch, which, weights, part });
    const dimension = output === "feature" ? source.encoder.features : source.head.dimension;
    const encoder = { path: pretrained, arch: source.encoder.name, which, weights };
    const { note, ...views } = chooseViews(source, input, data);
    if (note !== undefined) tell({ type: "note", text: note });
    return await runEmbedding(
      { ...EMBED_DEFAULTS, ...input, ...views, output, data, dimension, encoder },
      tell,
      signal,
    );
  };
  return new EmbedRun(withPlugins(input.plugins, needs, work), settings);
}
