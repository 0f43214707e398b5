/** What the recipes have in common: how they find their actors, hear of broken rows, and are aborted. */
import { TsvFile } from "../data/tsv.ts";
import type { ReaderMonitor } from "./messages.ts";
import type { Handlers } from "./runtime/mod.ts";

/** What a recipe may tell of besides its own events. */
export interface WarningEvents {
  /** Something is not as expected, and the run goes on. */
  onWarning?(text: string): void;
}

/** Where an actor's module is, by its name. */
export function moduleUrl(name: string): URL {
  return new URL(`./${name}.ts`, import.meta.url);
}

/** Rows of a file of pictures, broken ones included. */
export async function countRows(path: string, { onWarning }: WarningEvents): Promise<number> {
  using tsv = await TsvFile.open(path, { onWarning });
  return tsv.rowCount;
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
