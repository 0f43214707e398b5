/**
 * The recipe of a weighted kNN evaluation, alone or next to training: the pictures of the bank vote for the class of
 * each query, by the similarity of an encoder's pooled features.
 *
 *     bank_reader, query_reader -> evaluation_augmenter -> evaluator
 */
import type { Tuning } from "../kernels/tuning/tuning.ts";
import type augmenter from "./augmenter.ts";
import { type ActorModules, actorUrl } from "./catalog.ts";
import type evaluator from "./evaluator.ts";
import type { Accuracy, EvaluatedEncoder, Purpose, ReaderMonitor } from "./messages.ts";
import {
  abortable,
  brokenRowHandler,
  checkSameClasses,
  describeRestart,
  lookAtData,
  type WarningEvents,
  warningHandler,
  watchdogOf,
} from "./recipe.ts";
import { type ActorRef, ActorSystem, type Restart } from "./runtime/mod.ts";
import type tsvReader from "./tsv_reader.ts";
import { EVALUATION_ORDER } from "./tsv_reader.ts";

/** Pictures that are embedded at once. */
const BATCH = 100;

/** What a kNN evaluation needs besides an encoder. Paths are absolute. */
export interface KnnOptions {
  /** Pictures that vote: a path that `openDataset` knows, as the next. */
  bankData: string;
  /** Pictures that are classified. */
  queryData: string;
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** Pixels that a picture may have; a larger one counts as broken. */
  maxPixels?: number;
  /** Numbers of neighbours that vote; each is judged. */
  ks: readonly number[];
  /** Temperature of their votes. */
  temperature: number;
  /** Actors of one's own in the places of built-in ones. */
  actors?: ActorModules;
  /** What was measured of the adapter (`tuneAdapter`). */
  tuning?: Tuning | null;
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
  const bank = await lookAtData(options.bankData, events);
  const queries = await lookAtData(options.queryData, events);
  checkSameClasses(bank, queries);
  events.onPlan?.({ bankPictures: bank.rowCount, queryPictures: queries.rowCount });
  const system = new ActorSystem({ watchdog: watchdogOf(events) });
  return await system.run(async () => {
    const monitor = system.listen<ReaderMonitor>("monitor", {
      warning: warningHandler(events),
      brokenRow: brokenRowHandler(events),
    });
    const judge = spawnKnn(system, options, monitor, describeRestart(events));
    return await abortable(signal, () => judge(encoder));
  });
}

/**
 * The line of actors, and the function that has it judge an encoder; one at a time. All are started again when one
 * crashes, and the encoder that it was about is judged once more.
 */
export function spawnKnn(
  system: ActorSystem,
  { bankData, queryData, imageSize, maxPixels, ks, temperature, tuning, actors }: KnnOptions,
  monitor: ActorRef<ReaderMonitor>,
  onRestart: (restart: Restart) => void,
): (encoder: EvaluatedEncoder) => Promise<Accuracy[]> {
  const line = system.supervise({ strategy: "one-for-all", prepare: onRestart, resume: connect });
  const spawnReader = (name: string, path: string, purpose: Purpose) =>
    line.spawn<typeof tsvReader>(name, actorUrl("tsv_reader", actors), () => ({
      path,
      purpose,
      order: EVALUATION_ORDER,
      worker: 0,
      workers: 1,
      seed: 0,
      batchSize: BATCH,
      maxPixels,
      viewBytes: BATCH * imageSize * imageSize * 4,
      embeddingBytes: 0,
      batchesUnderWay: 3,
      monitor,
    }));
  const readers = [
    spawnReader("bank_reader", bankData, "bank"),
    spawnReader("query_reader", queryData, "queries"),
  ];
  const judge = line.spawn<typeof evaluator>("evaluator", actorUrl("evaluator", actors), () => ({
    batchSize: BATCH,
    imageSize,
    ks,
    temperature,
    tuning,
    readers: readers.map(({ ref }) => ref),
  }));
  const views = line.spawn<typeof augmenter>("evaluation_augmenter", actorUrl("augmenter", actors), () => ({
    batchSize: BATCH,
    imageSize,
    views: { kind: "evaluation" },
    next: judge.ref,
  }));
  async function connect(): Promise<void> {
    await Promise.all(readers.map(({ ref }) => ref.tell("connect", { augmenter: views.ref })));
  }

  let turn: Promise<unknown> = connect().catch(() => {}); // the system says why
  return (encoder) => {
    const result = turn.then(() =>
      line.retry(async () => {
        const patience = { timeoutMs: Infinity };
        await judge.ref.ask("use", encoder, { ...patience, transfer: [] });
        const [bank, queries] = await Promise.all(
          readers.map(({ ref }) => ref.ask("read", { epoch: 0 }, patience)),
        );
        return await judge.ref.ask("score", { bank: bank.pictures, queries: queries.pictures }, patience);
      })
    );
    turn = result.catch(() => {});
    return result;
  };
}
