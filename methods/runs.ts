/** The library's way in: what the command line does, for programs. Every option has the command line's default. */
import { Run } from "../actors/run.ts";
import type { Accuracy } from "../actors/messages.ts";
import { findingListener, withWarningsOnce } from "../actors/notices.ts";
import { resolveSplit, type Split } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";
import { describeOtherHeads, openEncoderSource } from "../models/encoder_source.ts";
import type { FeatureKind, Stem } from "../models/encoder.ts";
import { askedSize, chooseFresh } from "../models/registry.ts";
import { type AskedViews, chooseViews } from "./encoder_views.ts";
import {
  EMBED_DEFAULTS,
  type EmbeddedRows,
  type EmbeddingOptions,
  type EmbeddingResult,
  type EmbedEvent,
  type EmitRows,
  runEmbedding,
} from "./embedding.ts";
import { KNN_DEFAULTS, type KnnEvent, type KnnOptions, runKnnEvaluation } from "./knn.ts";
import { checkNames, checkOption, checkOptions, type FlagTable } from "./flag_table.ts";
import type { FinetuneEvent } from "./finetune/events.ts";
import type { FinetuneInput, FinetuneSettings } from "./finetune/mod.ts";
import type { FinetuneResult } from "./finetune/run.ts";
import type { LinearEvent } from "./linear_probe/events.ts";
import type { LinearInput, LinearSettings } from "./linear_probe/mod.ts";
import type { LinearOptions } from "./linear_probe/options.ts";
import type { LinearResult } from "./linear_probe/run.ts";
import { findVote, HELD_OUT } from "./held_out.ts";
import { type RankedSettings, startMethod, withPlugins } from "./method.ts";
import { checkpointAt, dataAt, imagesAt } from "./permissions.ts";
import {
  encoderFlags,
  evalResizeFlag,
  fastDecodeFlag,
  frozenAmpFlag,
  imageSizeFlag,
  maxPixelsFlag,
  partFlag,
  SGD_FLAGS,
  splitFlag,
  testDataFlag,
  voteFlags,
  workersFlag,
} from "./shared_flags.ts";
import type { PretrainEvent, PretrainInput, PretrainResult, PretrainSettings } from "./moco/mod.ts";
import type { DistillEvent } from "./seed/events.ts";
import { METHODS } from "./registry.ts";
import { earlySignal } from "./rank_shares.ts";
import type { DistillInput, DistillSettings } from "./seed/mod.ts";
import type { DistillResult } from "./seed/run.ts";
import { withoutUnset } from "./without_unset.ts";

/**
 * Distils a teacher into a student. Stopping the run saves a checkpoint.
 *
 * @throws {StoppedError} in the run's result, if the run is stopped; names that checkpoint, and has the reason as its
 *   `cause`
 * @throws {FolderLostError} in the run's result, if the output folder is removed, moved or replaced
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used, and where training diverges
 * @throws {ActorCrash} in the run's result, if actors crash more often than `maxRestarts` allows
 */
export function distill(
  input: DistillInput,
  settings: DistillSettings = {},
): Run<DistillEvent, DistillResult> {
  return startMethod(METHODS.seed, input, settings);
}

/**
 * Pretrains an encoder on images without labels, by MoCo-v2 (Chen et al., arXiv 2003.04297). Stopping the run saves a
 * checkpoint, which holds query encoder, key encoder and queue under the names of MoCo's `main_moco.py`.
 *
 * @throws {StoppedError} in the run's result, if the run is stopped; names that checkpoint, and has the reason as its
 *   `cause`
 * @throws {FolderLostError} in the run's result, if the output folder is removed, moved or replaced
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used, and where training diverges
 * @throws {ActorCrash} in the run's result, if actors crash more often than `maxRestarts` allows
 */
export function pretrain(
  input: PretrainInput,
  settings: PretrainSettings = {},
): Run<PretrainEvent, PretrainResult> {
  return startMethod(METHODS.moco, input, settings);
}

/**
 * Evaluates an encoder by linear classifiers on its frozen features. Stopping the run saves a checkpoint of the last
 * complete epoch.
 *
 * @throws {StoppedError} in the run's result, if the run is stopped; names that checkpoint, and has the reason as its
 *   `cause`
 * @throws {FolderLostError} in the run's result, if the output folder is removed, moved or replaced
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 * @throws {ActorCrash} in the run's result, if actors crash again and again
 */
export function linearProbe(
  input: LinearInput,
  settings: LinearSettings = {},
): Run<LinearEvent, LinearResult> {
  return startMethod(METHODS.linear_probe, input, settings);
}

/**
 * Fine-tunes an encoder: all of it is trained with a classifier, on all labels or a share of them. A run that is stopped
 * saves a checkpoint of where training is.
 *
 * @throws {StoppedError} in the run's result, where it is stopped: it names that checkpoint, its `cause` is the reason
 * @throws {FolderLostError} in the run's result, if the output folder is removed, moved or replaced
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used, and where training diverges
 * @throws {ActorCrash} in the run's result, if actors crash again and again
 */
export function finetune(
  input: FinetuneInput,
  settings: FinetuneSettings = {},
): Run<FinetuneEvent, FinetuneResult> {
  return startMethod(METHODS.finetune, input, settings);
}

const { plugin: _, ...ENCODER_TABLE } = encoderFlags({ encoders: [] }, "", "");

/** The flags that the options of an evaluation are checked against; their headings are of no meaning here. */
const EVALUATION_TABLE: FlagTable = {
  ...ENCODER_TABLE,
  amp: frozenAmpFlag(""),
  imageSize: imageSizeFlag(""),
  maxPixels: maxPixelsFlag(""),
  fastDecode: fastDecodeFlag(""),
  evalResize: evalResizeFlag(""),
};
const KNN_TABLE: FlagTable = {
  ...EVALUATION_TABLE,
  ...voteFlags(""),
  seed: { kind: "integer", min: 0, group: "", help: "" },
  testData: testDataFlag(""),
};
const EMBED_TABLE: FlagTable = {
  ...EVALUATION_TABLE,
  part: partFlag(""),
  split: splitFlag(""),
  workers: workersFlag("", 64),
  batchSize: SGD_FLAGS.batchSize,
};
/** Names of options of both that are in no table. */
const UNFLAGGED = ["actors", "data", "plugins", "tuning"];
/** The same of what neighbours are found by, none of which may be left out. */
const NEIGHBOURS_TABLE = {
  queries: { kind: "integer", min: 1, group: "", help: "" },
  k: { kind: "integer", min: 1, group: "", help: "" },
  seed: { kind: "integer", min: 0, group: "", help: "" },
} as const satisfies FlagTable;

/** Options for {@linkcode knn}, named as on the command line. All but `data` and the encoder have defaults. */
export interface KnnInput
  extends AskedViews, Pick<KnnOptions, "maxPixels" | "fastDecode" | "tuning" | "actors" | "plugins"> {
  /** Checkpoint of the encoder; omitted or `null` for random weights of `arch`. */
  pretrained?: string | null;
  /** Name of the encoder; detected from the checkpoint if omitted. */
  arch?: string;
  /** First layers of the encoder, `imagenet`, `cifar` or `cifar_pad2`; found out where a checkpoint has it. */
  stem?: Stem;
  /** Which encoder of a distillation's checkpoint; the student by default. */
  which?: LinearOptions["which"];
  /** Prefix of the encoder's keys, if its file holds several encoders. */
  weights?: string;
  /** Heads of a vision transformer; by its checkpoint if omitted. */
  heads?: number;
  /** Feature of the encoder; by its checkpoint if omitted. */
  feature?: FeatureKind;
  /** Keep activations and the encoder's weights in float16, as `--amp` does. */
  amp?: boolean;
  /** Seed of random weights, and of the choice of held-out labels where there is no test set. */
  seed?: number;
  /** Images that vote. */
  data: string;
  /**
   * Images to classify. Default: the test set in the folder `data`; without one, a tenth of the labelled images of `data` is
   * classified by the others, as `held-out` asks for.
   */
  testData?: string;
  /** Numbers of neighbours (k) to evaluate. */
  knnK?: readonly number[];
  /** Temperature of the votes. */
  knnT?: number;
}

/**
 * Evaluates an encoder by weighted kNN classification of its pooled features. The result has one accuracy per k.
 *
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 * @throws {ActorCrash} in the run's result, if actors crash again and again
 */
export function knn(given: KnnInput, settings: RankedSettings = {}): Run<KnnEvent, Accuracy[]> {
  const input = withoutUnset(given);
  const {
    pretrained = null,
    arch,
    stem,
    which,
    weights,
    heads,
    feature,
    amp: mixedPrecision = false,
    seed,
    data,
    testData,
    knnK,
    knnT,
    ...rest
  } = {
    ...KNN_DEFAULTS,
    ...input,
  };
  const needs = () => ({
    decodes: true,
    computes: true,
    read: [...dataAt(data, testData === HELD_OUT ? null : testData), ...checkpointAt(pretrained)],
  });
  const work = async (emit: (event: KnnEvent) => void, signal: AbortSignal) => {
    const tell = withWarningsOnce(emit); // the images are read to hold some of them out, and once more
    checkNames(KNN_TABLE, UNFLAGGED, input);
    checkOptions(KNN_TABLE, input, ["data"]);
    const choice = { arch, isAsked: true, stem, which, weights, heads, feature, part: "backbone" } as const;
    using source = pretrained === null ? null : await openEncoderSource(pretrained, choice);
    const named = source?.encoder.name ?? arch;
    if (named === undefined) {
      throw new UserError(
        "expected a checkpoint (pretrained) or the name of an encoder (arch), found neither",
      );
    }
    const images = await findVote({ data, testData, seed }, tell, earlySignal(signal, settings.ranks));
    const imageSize = source === null ? askedSize(named, input.imageSize) : input.imageSize;
    const { note, ...views } = chooseViews(source, { ...input, imageSize }, images.bankData);
    const encoder = pretrained === null
      ? { arch: chooseFresh({ ...choice, arch: named }, views.imageSize).name, seed }
      : { arch: named, path: pretrained, which, weights };
    for (const text of [source && describeOtherHeads(pretrained!, source), note]) {
      if (text) tell({ type: "note", text });
    }
    const vote = { ks: knnK, temperature: knnT };
    const options = { ...rest, ...views, ...images, ...vote, mixedPrecision };
    return await runKnnEvaluation(encoder, options, tell, signal, settings.ranks);
  };
  return new Run(withPlugins(input, needs, work), settings);
}

/** Options for {@linkcode embed}. All but `pretrained` and `data` have defaults. */
export type EmbedInput =
  & {
    pretrained: string;
    which?: LinearOptions["which"];
    arch?: string;
    stem?: Stem;
    weights?: string;
    heads?: number;
    feature?: FeatureKind;
    /** Which images, where the folder `data` has both; `train` by default. */
    split?: Split;
  }
  & Pick<EmbeddingOptions, "data">
  & Partial<Omit<EmbeddingOptions, "encoder" | "dimension">>;

/** Embedding of one image. */
export interface EmbeddedRow {
  /** Number of its row, from 0. */
  row: number;
  /** Key of its row. */
  name: string;
  /** Class label; -1 if there is none. */
  label: number;
  /** Embedding, float32 [dimension]. */
  embedding: Float32Array<ArrayBuffer>;
}

/** A run of {@linkcode embed}. */
export class EmbedRun extends Run<EmbedEvent, EmbeddingResult> {
  /**
   * Returns a stream of the batches embedded from now on. The run waits for a slow reader, and for one that does not read: cancel a
   * stream that is read no more.
   */
  batches(): ReadableStream<EmbeddedRows> {
    return ReadableStream.from(this.iterate(true)).pipeThrough(
      new TransformStream<EmbedEvent, EmbeddedRows>({
        transform(event, controller) {
          if (event.type === "rows") controller.enqueue(event);
        },
      }),
    );
  }

  /** Returns a stream of the rows embedded from now on, one by one. The run waits for its reader as for that of {@linkcode batches}. */
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
 * Computes the embedding of every image in a data set.
 *
 * @throws {UserError} in the run's result, for data and checkpoints that cannot be used
 * @throws {ActorCrash} in the run's result, if actors crash again and again
 */
export function embed(given: EmbedInput, settings: RankedSettings = {}): EmbedRun {
  const asked = withoutUnset(given);
  const { pretrained, which, arch, stem, weights, heads, feature, split = "train", ...input } = asked;
  const needs = () => ({
    decodes: true,
    computes: true,
    read: [...imagesAt(input.data), ...checkpointAt(pretrained)],
  });
  const work = async (tell: EmitRows, signal: AbortSignal) => {
    checkNames(EMBED_TABLE, [...UNFLAGGED, "neighbours"], asked);
    checkOptions(EMBED_TABLE, asked, ["pretrained", "data"]);
    for (const name of input.neighbours ? ["queries", "k", "seed"] as const : []) {
      checkOption(`neighbours.${name}`, NEIGHBOURS_TABLE[name], input.neighbours![name]);
    }
    const data = await resolveSplit(input.data, split, findingListener(tell));
    const part = input.part ?? EMBED_DEFAULTS.part;
    const choice = { arch, isAsked: true, stem, which, weights, heads, feature, part };
    using source = await openEncoderSource(pretrained, choice);
    const dimension = part === "backbone" ? source.encoder.features : source.head.dimension;
    const encoder = { path: pretrained, arch: source.encoder.name, which, weights };
    const { note, ...views } = chooseViews(source, input, data);
    if (note !== undefined) tell({ type: "note", text: note });
    return await runEmbedding(
      { ...EMBED_DEFAULTS, ...input, ...views, part, data, dimension, encoder },
      tell,
      signal,
      settings.ranks,
    );
  };
  return new EmbedRun(withPlugins(input, needs, work), settings);
}
