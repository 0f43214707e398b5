/**
 * A weighted kNN evaluation by itself: the images of the bank vote for the class of each query, by the
 * similarity of an encoder's pooled features.
 */
import { abortable } from "../actors/abort.ts";
import { checkSameClasses, factsOf, withDecoding } from "../actors/data_facts.ts";
import {
  evaluationBatchSize,
  type EvaluationSettings,
  type KnnSettings,
  spawnEvaluation,
} from "../actors/evaluation.ts";
import {
  type EvaluationResize,
  type EvaluationResizeChoice,
  resolveEvaluationResize,
} from "../actors/evaluation_resize.ts";
import type { Emit, NoticeEvent, ProgressEvent } from "../actors/events.ts";
import { identifyEncoder } from "../actors/load_encoder.ts";
import type { Accuracy, EvaluatedEncoder } from "../actors/messages.ts";
import { dataListener, describeRestart, listenToActors } from "../actors/notices.ts";
import { CANNOT_BEGIN_AGAIN, requireSame } from "../actors/ranks/peers.ts";
import type { RankSettings } from "../actors/ranks/ranks.ts";
import { spawnPeers } from "../actors/ranks/spawn_exchange.ts";
import { wholeBatchesOf } from "../actors/ranks/whole_batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { fingerprintDataset } from "../data/fingerprint.ts";
import { openDataset } from "../data/open_dataset.ts";
import { requireHalf } from "./require_half.ts";
import { openSystem } from "./watched_actors.ts";
import { UserError } from "../errors.ts";
import { findEncoder } from "../models/registry.ts";
import { describeBankMemory } from "./bank_memory.ts";
import { describeFewVotes } from "./few_votes.ts";
import { warnOfSameImages } from "./held_out.ts";
import { programFacts } from "./program_facts.ts";
import { earlySignal } from "./rank_shares.ts";
import { ReadingProgress } from "./reading_progress.ts";
import { describeOneClass, describeUnknownClasses } from "./unknown_classes.ts";

/** Options for a kNN evaluation, besides the encoder. Paths are absolute. */
export interface KnnOptions
  extends
    KnnSettings,
    Omit<EvaluationSettings, "knn" | "probeSet" | "evalResize" | "caches" | "ranks" | "memoryAdvice"> {
  /** Decode JPEGs to a half, a quarter or an eighth of their size, where they stay twice as large as views. */
  fastDecode?: boolean;
  /** How images are resized. Default: `auto`, which decides by the bank's images. */
  evalResize?: EvaluationResizeChoice;
  /** URLs of modules that register encoders; every Worker imports them. */
  plugins?: string[];
}

/** Default options of `knn`, on the command line and in the library. */
export const KNN_DEFAULTS: Readonly<{ knnK: readonly number[]; knnT: number; seed: number }> = {
  knnK: [20, 200],
  knnT: 0.07,
  seed: 0,
};

/** The features of all images that vote are on the device. */
const MEMORY_ADVICE = "The features of all images that vote lie there: use data of fewer images";

/** Size of a kNN evaluation, known before it starts. */
export interface KnnPlan {
  /** Name of the encoder. */
  arch: string;
  /** Rows that vote, including broken ones. */
  bankImages: number;
  /** Rows to classify, including broken ones. */
  queryImages: number;
  /** Whether only some rows are classified: images with held-out labels, where there is no test set. */
  heldOut: boolean;
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** How images are resized. */
  evalResize: EvaluationResize;
}

/** Events of a kNN evaluation. */
export type KnnEvent =
  | NoticeEvent
  | ProgressEvent
  /** The files are open; actors start now. */
  | ({ type: "plan" } & KnnPlan);

/**
 * Reads what is known of the images that vote and of those to classify: of the same images once, and of chosen rows no labels,
 * since they were chosen by these.
 *
 * @throws {UserError} where a set has no labels, or those of the two do not mean the same
 */
async function readVote(
  { bankData, queryData, bankRows, queryRows }: KnnOptions,
  emit: Emit<NoticeEvent | ProgressEvent>,
  signal: AbortSignal | undefined,
) {
  const listener = dataListener(emit, signal);
  using bank = await openDataset(bankData, listener);
  using queries = queryData === bankData ? bank : await openDataset(queryData, listener);
  const identify = async (dataset: Dataset) => ({
    ...factsOf(dataset),
    fingerprint: await fingerprintDataset(dataset),
  });
  const bankFacts = await identify(bank);
  const queryFacts = queries === bank ? bankFacts : await identify(queries);
  checkSameClasses(bankFacts, queryFacts);
  const none = new Int32Array();
  const areChosen = bankRows !== undefined && queryRows !== undefined;
  const labels = areChosen ? none : await bank.readLabels(listener);
  const queryLabels = queryRows !== undefined
    ? none
    : queries === bank
    ? labels
    : await queries.readLabels(listener);
  return { bank: { ...bankFacts, labels }, queries: { ...queryFacts, labels: queryLabels } };
}

/**
 * Evaluates one encoder. Several ranks take batches in turn; then all have the whole bank, and each classifies the queries of its
 * own batches. The accuracies are exactly those of one process.
 *
 * @param ranks the part of this process, where several share the images
 * @returns the accuracies, in the order of the numbers of neighbours
 * @throws {UserError} for data and checkpoints that cannot be used
 * @throws {ActorCrash} when actors fail again and again; all have been stopped then
 */
export async function runKnnEvaluation(
  encoder: EvaluatedEncoder,
  options: KnnOptions,
  emit: Emit<KnnEvent> = () => {},
  signal?: AbortSignal,
  ranks?: RankSettings,
): Promise<Accuracy[]> {
  if (options.mixedPrecision) await requireHalf();
  options = await withDecoding(options);
  const early = earlySignal(signal, ranks);
  const { bank, queries } = await readVote(options, emit, early);
  // Held-out labels are those of classes that vote.
  if (options.queryRows === undefined) {
    warnOfSameImages(bank, queries, emit);
    for (const text of [describeUnknownClasses(bank, queries), describeOneClass(bank)]) {
      if (text !== undefined) emit({ type: "warning", text, isCommon: true });
    }
  }
  const { imageSize, bankData } = options;
  const evalResize = await resolveEvaluationResize(options.evalResize, bankData, imageSize);
  early?.throwIfAborted();
  const counts = {
    bankImages: options.bankRows?.length ?? bank.rowCount,
    queryImages: options.queryRows?.length ?? queries.rowCount,
  };
  const voters = options.bankRows?.length ?? bank.labels.reduce((sum, label) => sum + Number(label >= 0), 0);
  const few = describeFewVotes(options.ks, voters);
  if (few !== undefined) emit({ type: "note", text: few });
  const { features } = findEncoder(encoder.arch);
  const memory = describeBankMemory({ images: voters, features });
  if (memory !== undefined) emit(memory);
  emit({
    type: "plan",
    arch: encoder.arch,
    ...counts,
    heldOut: options.queryRows !== undefined,
    imageSize,
    evalResize,
  });
  const total = counts.bankImages + counts.queryImages;
  // Of the others nothing is known meanwhile, but that they have as much to do.
  const { size = 1 } = ranks ?? {};
  const progress = new ReadingProgress({ phase: "evaluation", total }, emit);
  const onProgress = (images: number) => progress.reach(images * size);
  const system = openSystem(options.plugins, emit);
  return await system.run(async () => {
    const monitor = listenToActors(system, emit);
    const tellRestart = describeRestart(emit);
    const peers = spawnPeers(system, ranks, options.actors);
    const { bankRows = bank.rowCount, queryRows = queries.rowCount } = options;
    const counted = { ...options, voters, bankRowCount: bank.rowCount, queryRowCount: queries.rowCount };
    const batchSize = evaluationBatchSize(imageSize);
    const vote = peers === undefined ? counted : {
      ...counted,
      bankRows: wholeBatchesOf(bankRows, batchSize, peers).rows,
      queryRows: wholeBatchesOf(queryRows, batchSize, peers).rows,
    };
    const settings = { ...options, evalResize, memoryAdvice: MEMORY_ADVICE, knn: vote, ranks: peers };
    const evaluate = spawnEvaluation(system, settings, monitor, {
      onRestart(restart) {
        tellRestart(restart);
        if (peers !== undefined) throw new UserError(CANNOT_BEGIN_AGAIN);
      },
      onNoProbeSet() {}, // there is none
    });
    const { accuracies, noAccuracies } = await abortable(signal, async () => {
      if (peers !== undefined) {
        await requireSame(peers, {
          ...await programFacts(options),
          "--image-size": [imageSize, options.leastSide],
          "--eval-resize": evalResize,
          "--knn-k": options.ks,
          "--knn-t": options.temperature,
          "--amp": options.mixedPrecision === true,
          "images": [counts, bank.fingerprint, queries.fingerprint],
          "--arch": encoder.arch,
          "the encoder's weights": await identifyEncoder(encoder, "backbone"),
        });
      }
      const evaluation = await evaluate(encoder, { onProgress });
      progress.end();
      return evaluation;
    });
    if (noAccuracies !== undefined) throw new UserError(noAccuracies);
    return accuracies!;
  });
}
