/** How a training ends: by itself, by a signal, or since it makes no sense any more; and what is saved then. */
import { FolderLostError } from "../data/folder_identity.ts";
import { pruneCheckpoints } from "../models/checkpoint/run_checkpoints.ts";
import { whenAborted } from "./abort.ts";
import type { Emit, NoteEvent } from "./events.ts";

/** What a {@linkcode TrainingRun} is made from. */
export interface TrainingRunOptions {
  /** Folder that checkpoints go to. */
  output: string;
  /** Newest checkpoints that are kept; 0 for all. */
  keep?: number;
  emit: Emit<NoteEvent>;
  /** Has a checkpoint written of where training is, and says where; `null` where there is nothing to save. */
  save(): Promise<string | null>;
  /** Stops the training. */
  signal: AbortSignal | undefined;
}

/** A training under way. */
export class TrainingRun {
  readonly #options: TrainingRunOptions;
  #checkpoint: string | null = null;

  constructor(options: TrainingRunOptions) {
    this.#options = options;
  }

  /** The newest checkpoint of this run. */
  get checkpoint(): string | null {
    return this.#checkpoint;
  }

  /** A checkpoint was written. Older ones go only now, when the run would return to the new one. */
  async saved(path: string): Promise<void> {
    const { output, keep = 0, emit } = this.#options;
    this.#checkpoint = path;
    emit({ type: "note", text: `checkpoint saved to ${path}` });
    if (keep > 0) await pruneCheckpoints(output, path, keep);
  }

  /** Has a checkpoint written. */
  async save(): Promise<void> {
    const path = await this.#options.save();
    if (path !== null) await this.saved(path);
  }

  /**
   * Waits for a training's end. Where it is stopped before, or is over, a checkpoint is saved, unless there is no folder any
   * more.
   *
   * @param over resolves with the reason where training makes no sense any more
   * @throws the signal's reason, or that one
   */
  async untilStopped(work: () => Promise<void>, over?: Promise<unknown>): Promise<void> {
    const { signal } = this.#options;
    const aborted = whenAborted(signal);
    const stopped: { reason: unknown } | undefined = await Promise.race([
      work().then(() => undefined),
      aborted.promise.then(() => ({ reason: signal!.reason })),
      ...over === undefined ? [] : [over.then((reason) => ({ reason }))],
    ]);
    aborted.forget();
    // A signal may come with the last step.
    const lost = signal?.reason instanceof FolderLostError ? { reason: signal.reason } : undefined;
    if (lost !== undefined) throw lost.reason;
    if (stopped === undefined) return;
    await this.save();
    throw stopped.reason;
  }
}
