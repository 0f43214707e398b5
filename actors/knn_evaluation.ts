/**
 * The recipe of a weighted kNN evaluation by itself: the pictures of the bank vote for the class of each query, by the
 * similarity of an encoder's pooled features.
 */
import { UserError } from "../errors.ts";
import { type EvaluationSettings, type KnnSettings, spawnEvaluation } from "./evaluation.ts";
import {
  type EvaluationResize,
  type EvaluationResizeChoice,
  resolveEvaluationResize,
} from "./evaluation_resize.ts";
import type { Accuracy, EvaluatedEncoder, ReaderMonitor } from "./messages.ts";
import {
  abortable,
  brokenRowHandler,
  checkSameClasses,
  describeRestart,
  lookAtData,
  type WarningEvents,
  watchdogOf,
  withMaxPixels,
  withWarningsOnce,
} from "./recipe.ts";
import { ActorSystem } from "./runtime/mod.ts";

/** What a kNN evaluation needs besides an encoder. Paths are absolute. */
export interface KnnOptions extends KnnSettings, Omit<EvaluationSettings, "knn" | "gallery" | "evalResize"> {
  /** How pictures become views; `auto`, which the bank's pictures decide, where it is left out. */
  evalResize?: EvaluationResizeChoice;
  /** Modules, as text of their URLs, that register encoders; every Worker imports them. */
  plugins?: string[];
}

/** What the command line and the library take where nothing is said. */
export const KNN_DEFAULTS: Readonly<Pick<KnnOptions, "ks" | "temperature" | "imageSize">> = {
  ks: [20, 200],
  temperature: 0.07,
  imageSize: 224,
};

/** What a kNN evaluation is, known before it begins. */
export interface KnnPlan {
  /** Rows that vote, broken ones included. */
  bankPictures: number;
  /** Rows that are classified, broken ones included. */
  queryPictures: number;
  /** How pictures become views. */
  evalResize: EvaluationResize;
}

/** What a kNN evaluation tells while it runs. */
export interface KnnEvents extends WarningEvents {
  /** The files are open; actors start now. */
  onPlan?(plan: KnnPlan): void;
}

/**
 * Judges one encoder.
 *
 * @returns the accuracies, in the order of the numbers of neighbours
 * @throws {UserError} for data and checkpoints that cannot be used
 * @throws {ActorCrash} when actors fail again and again; all have been stopped then
 */
export async function runKnnEvaluation(
  encoder: EvaluatedEncoder,
  options: KnnOptions,
  events: KnnEvents = {},
  signal?: AbortSignal,
): Promise<Accuracy[]> {
  options = await withMaxPixels(options);
  events = withWarningsOnce(events);
  const bank = await lookAtData(options.bankData, events);
  const queries = await lookAtData(options.queryData, events);
  checkSameClasses(bank, queries);
  const evalResize = await resolveEvaluationResize(options.evalResize, options.bankData, options.imageSize);
  events.onPlan?.({ bankPictures: bank.rowCount, queryPictures: queries.rowCount, evalResize });
  const system = new ActorSystem({ imports: options.plugins, watchdog: watchdogOf(events) });
  return await system.run(async () => {
    const monitor = system.listen<ReaderMonitor>("monitor", {
      warning: (text) => events.onWarning?.(text),
      brokenRow: brokenRowHandler(events),
    });
    const judge = spawnEvaluation(system, { ...options, evalResize, knn: options }, monitor, {
      onRestart: describeRestart(events),
      onNoGallery() {}, // there is none
    });
    const { accuracies, noAccuracies } = await abortable(signal, () => judge(encoder));
    if (noAccuracies !== undefined) throw new UserError(noAccuracies);
    return accuracies!;
  });
}
