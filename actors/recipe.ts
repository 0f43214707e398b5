/** What the recipes have in common: how they look at their data, hear of broken rows, try again, and are aborted. */
import { checkSameClassNames, type Dataset } from "../data/dataset.ts";
import { DEFAULT_MAX_PIXELS } from "../data/decode.ts";
import { fingerprintDataset } from "../data/fingerprint.ts";
import { openDataset } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";
import { describeAdapter } from "../kernels/gpu.ts";
import { maxPicturePixels } from "../kernels/image/view_plan.ts";
import type { ReaderMonitor } from "./messages.ts";
import { ActorCrash, type Handlers, type Restart, type WatchdogOptions } from "./runtime/mod.ts";

/** What a recipe may tell of besides its own events. */
export interface WarningEvents {
  /** Something is not as expected, and the run goes on. */
  onWarning?(text: string): void;
}

/** The run that was to be gone on with has come to its end. */
export class NothingToDoError extends UserError {
  /** What a program tells the kind of error by. */
  override name = "NothingToDoError";
}

/** What a run needs to know of its pictures before it reads them. */
export type DataFacts = Pick<Dataset, "path" | "rowCount" | "hasLabels" | "classNames">;

/** Opens data once, so that what is wrong with it is said before anything is started. */
export async function lookAtData(path: string, { onWarning }: WarningEvents): Promise<DataFacts> {
  using dataset = await openDataset(path, { onWarning });
  return factsOf(dataset);
}

/** {@linkcode lookAtData}, with the number by which the same data is known again. */
export async function identifyData(
  path: string,
  { onWarning }: WarningEvents,
): Promise<DataFacts & { fingerprint: string }> {
  using dataset = await openDataset(path, { onWarning });
  return { ...factsOf(dataset), fingerprint: await fingerprintDataset(dataset) };
}

/**
 * The options with no more pixels a picture than the adapter can make views of; a larger picture counts as broken.
 *
 * @throws {NoAdapterError} where there is no adapter
 */
export async function withMaxPixels<Options extends { maxPixels?: number }>(
  options: Options,
): Promise<Options & { maxPixels: number }> {
  const { maxBindingBytes } = await describeAdapter();
  const { maxPixels = DEFAULT_MAX_PIXELS } = options;
  return { ...options, maxPixels: Math.min(maxPixels, maxPicturePixels(maxBindingBytes)) };
}

/** What is known of data that is open, to keep when it is closed. */
export function factsOf({ path, rowCount, hasLabels, classNames }: Dataset): DataFacts {
  return { path, rowCount, hasLabels, classNames };
}

/**
 * Makes sure that a label means the same in the pictures to learn from and in those to be judged on.
 *
 * @throws {UserError} where one has no labels, or both name their classes and the names differ
 */
export function checkSameClasses(learnt: DataFacts, judged: DataFacts): void {
  for (const { path, hasLabels } of [learnt, judged]) {
    if (!hasLabels) {
      throw new UserError(
        `${path}: expected labels from 0 on (in a folder of pictures: a folder for each class), found pictures without`,
      );
    }
  }
  checkSameClassNames(learnt, judged);
}

/** The same events, with each warning once: what one reader of some data finds, the others find too. */
export function withWarningsOnce<Events extends WarningEvents>(events: Events): Events {
  const given = new Set<string>();
  const onWarning = (text: string) => {
    if (given.has(text)) return;
    given.add(text);
    events.onWarning?.(text);
  };
  return { ...events, onWarning };
}

/**
 * Rows that are broken are named once each; several readers may meet the same one, and need not give the same reason,
 * since they share what the decoder notes errors in.
 */
export function brokenRowHandler(
  { onWarning }: WarningEvents,
): Handlers<ReaderMonitor>["brokenRow"] {
  const known = new Set<string>();
  return ({ file, row, text }) => {
    const place = `${file}:${row}`;
    if (known.has(place)) return;
    known.add(place);
    onWarning?.(`${text} (skipped; ${known.size} so far)`);
  };
}

/** Says that actors are started again, and why. */
export function describeRestart({ onWarning }: WarningEvents): (restart: Restart) => void {
  return ({ crash, actors, count }) =>
    onWarning?.(
      `${crash.message}; ${actors.join(", ")} ${
        actors.length === 1 ? "is" : "are"
      } started again (restart ${count})`,
    );
}

/** Crashes that {@linkcode retryAfterCrash} survives. */
const MAX_RETRIES = 3;

/**
 * Does all of a short run once more when one of its actors crashed.
 *
 * @param goesOn says where it goes on from, in the warning
 */
export async function retryAfterCrash<T>(
  { onWarning }: WarningEvents,
  goesOn: () => string,
  work: () => Promise<T>,
): Promise<T> {
  for (let restarts = 0;; restarts++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ActorCrash) || error.isUserError || restarts === MAX_RETRIES) throw error;
      onWarning?.(`${error.message}; it goes on from ${goesOn()} (restart ${restarts + 1})`);
    }
  }
}

/** What is said of data in which no picture can be used. */
export function noPictures(path: string): string {
  return `${path}: none of its rows holds a picture that can be used`;
}

/**
 * How many pictures some readers have read.
 *
 * @param path of the data, for the error
 * @throws {UserError} where there was none
 */
export function countPictures(path: string, counts: readonly { pictures: number }[]): number {
  const pictures = counts.reduce((sum, count) => sum + count.pictures, 0);
  if (pictures === 0) throw new UserError(noPictures(path));
  return pictures;
}

/** Warns when nothing moves. */
export function watchdogOf({ onWarning }: WarningEvents): WatchdogOptions {
  return { onStall: ({ text }) => onWarning?.(text) };
}

/** A promise of a signal's abort that can be forgotten. */
export function whenAborted(signal: AbortSignal | undefined): { promise: Promise<void>; forget(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const onAbort = () => resolve();
  if (signal?.aborted) resolve();
  signal?.addEventListener("abort", onAbort);
  return { promise, forget: () => signal?.removeEventListener("abort", onAbort) };
}

/** Does something that an abort ends at once. */
export async function abortable<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const aborted = whenAborted(signal);
  try {
    return await Promise.race([
      work(),
      aborted.promise.then(() => {
        throw signal!.reason;
      }),
    ]);
  } finally {
    aborted.forget();
  }
}
