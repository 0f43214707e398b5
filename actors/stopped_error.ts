/**
 * A training was stopped by its signal or by `Run.stop()`, and has saved where it was. The run's result rejects with it;
 * the signal's reason is its `cause`.
 *
 * ```ts ignore
 * const { checkpoint } = await run.result.catch((error) => {
 *   if (error instanceof StoppedError) return error;
 *   throw error;
 * });
 * ```
 */
export class StoppedError extends Error {
  /** What a program tells the kind of error by. */
  override name = "StoppedError";
  /** The newest checkpoint, which `resume` goes on from; `null` where nothing was trained yet. */
  readonly checkpoint: string | null;

  /**
   * An error about one training.
   *
   * @param reason of the signal
   * @param checkpoint the newest one
   */
  constructor(reason: unknown, checkpoint: string | null) {
    const text = reason instanceof Error ? reason.message : String(reason);
    super(checkpoint === null ? text : `${text}; resume from ${checkpoint}`, { cause: reason });
    this.checkpoint = checkpoint;
  }
}
