/**
 * Error of a training that was stopped by its signal or by `Run.stop()`, after it saved a checkpoint. The run's
 * result rejects with it; its `cause` is the signal's reason.
 *
 * ```ts ignore
 * const { checkpoint } = await run.result.catch((error) => {
 *   if (error instanceof StoppedError) return error;
 *   throw error;
 * });
 * ```
 */
export class StoppedError extends Error {
  /** Name of the error class. */
  override name = "StoppedError";
  /** The newest checkpoint, to `resume` from; `null` if nothing was trained yet. */
  readonly checkpoint: string | null;

  /**
   * Makes an error about one training.
   *
   * @param reason the signal's reason
   * @param checkpoint the newest checkpoint
   */
  constructor(reason: unknown, checkpoint: string | null) {
    const text = reason instanceof Error ? reason.message : String(reason);
    super(checkpoint === null ? text : `${text}; resume from ${checkpoint}`, { cause: reason });
    this.checkpoint = checkpoint;
  }
}
