/** How a training ends: by itself, by a signal, or since it makes no sense any more; and what is saved then. */
import { FolderLostError } from "../data/folder_identity.ts";
import { pruneCheckpoints } from "../models/checkpoint/run_checkpoints.ts";
import { abortable, whenAborted } from "./abort.ts";
import type { CheckpointEvent, Emit } from "./events.ts";
import { StoppedError } from "./stopped_error.ts";

/** What a {@linkcode TrainingRun} is made from. */
export interface TrainingRunOptions {
  /** The checkpoint that it goes on from. */
  resume: string | null;
  /** Folder that checkpoints go to. */
  output: string;
  /** Newest checkpoints that are kept; 0 for all. */
  keep?: number;
  emit: Emit<CheckpointEvent>;
  /**
   * Has a checkpoint written of where training is, and says where; `null` where there is nothing to save. With `ends`, no batch is
   * trained on after it, so that what was told of and what is saved agree.
   */
  save(how: { ends: boolean }): Promise<string | null>;
  /** Stops the training. */
  signal: AbortSignal | undefined;
}

/**
 * Does what comes before a training starts its actors, which the signal may end with its reason.
 *
 * @param resume the checkpoint that it is to go on from
 * @throws {StoppedError} where the signal ended it
 */
export async function beforeTraining<T>(
  signal: AbortSignal | undefined,
  resume: string | null,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw signal?.aborted && error === signal.reason ? stoppedBy(signal, resume) : error;
  }
}

/**
 * Ends a training before it starts its actors, where the signal stopped it.
 *
 * @param resume the checkpoint that it is to go on from
 * @throws {StoppedError}
 */
export function throwIfStopped(signal: AbortSignal | undefined, resume: string | null): void {
  if (signal?.aborted) throw stoppedBy(signal, resume);
}

/** What a training ends with where the signal stopped it; a folder that is lost says so itself. */
function stoppedBy({ reason }: AbortSignal, checkpoint: string | null): unknown {
  return reason instanceof FolderLostError ? reason : new StoppedError(reason, checkpoint);
}

/** A training under way. */
export class TrainingRun {
  readonly #options: TrainingRunOptions;
  #checkpoint: string | null = null;
  #isOver = false;

  constructor(options: TrainingRunOptions) {
    this.#options = options;
  }

  /** The newest checkpoint of this run. */
  get checkpoint(): string | null {
    return this.#checkpoint;
  }

  /** Whether it was stopped and has saved: what the actors still do is no part of it. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** A checkpoint was written. Older ones go only now, when the run would return to the new one. */
  async saved(path: string): Promise<void> {
    const { output, keep = 0, emit } = this.#options;
    this.#checkpoint = path;
    emit({ type: "checkpoint", path });
    if (keep > 0) await pruneCheckpoints(output, path, keep);
  }

  /** Has a checkpoint written. */
  async save(): Promise<void> {
    const path = await this.#options.save({ ends: false });
    if (path !== null) await this.saved(path);
  }

  /**
   * Waits for a training's end. Where it is stopped before, or is over, a checkpoint is saved, unless there is no folder any
   * more.
   *
   * @param over resolves with the reason where training makes no sense any more
   * @throws {StoppedError} where the signal stopped it
   * @throws the reason where it is over
   */
  async untilStopped(work: () => Promise<void>, over?: Promise<unknown>): Promise<void> {
    const { signal } = this.#options;
    const aborted = whenAborted(signal);
    const stopped: { error(): unknown } | undefined = await Promise.race([
      work().then(() => undefined),
      aborted.promise.then(() => ({ error: () => this.#stopped() })),
      ...over === undefined ? [] : [over.then((reason) => ({ error: () => reason }))],
    ]);
    aborted.forget();
    // A signal may come with the last step.
    if (signal?.reason instanceof FolderLostError) throw signal.reason;
    if (stopped === undefined) return;
    const path = await this.#options.save({ ends: true });
    this.#isOver = true;
    if (path !== null) await this.saved(path);
    throw stopped.error();
  }

  /**
   * Does what comes after the training, which an abort ends at once.
   *
   * @throws {StoppedError} where the signal ended it
   */
  async untilAborted<T>(work: () => Promise<T>): Promise<T> {
    const { signal } = this.#options;
    try {
      return await abortable(signal, work);
    } catch (error) {
      throw signal?.aborted && error === signal.reason ? this.#stopped() : error;
    }
  }

  #stopped(): unknown {
    const { signal, resume } = this.#options;
    return stoppedBy(signal!, this.#checkpoint ?? resume);
  }
}
