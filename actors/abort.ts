/** Waiting for a signal's abort. */

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
