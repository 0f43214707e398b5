/** A limit on what reading one file may cost, however small the file is. */
import type { Fail } from "./checkpoint_error.ts";

/**
 * What is spent on one file at most, in bytes. The largest state_dicts that are known take a tenth of it; a few bytes of
 * a pickle can ask for any amount of copies.
 */
const LIMIT = 256 * 2 ** 20;

/** What is spent, roughly the bytes of memory that it takes, or the bytes that are copied or compared. */
export const COST = {
  /** One instruction of a pickle; a place on its stack. */
  instruction: 8,
  /** A place in a list. */
  item: 8,
  /** A key and its value in a dict. */
  pair: 64,
  /** A number, text, tuple or name. */
  object: 96,
  /** A dict, or a list that grows. */
  container: 256,
  /** A tensor or a storage. */
  tensor: 512,
} as const;

/** Adds up what reading a file costs. All the pickles of one file share one. */
export class ReadBudget {
  readonly #fail: Fail;
  #left = LIMIT;

  /** `fail` makes the error. */
  constructor(fail: Fail) {
    this.#fail = fail;
  }

  /** Counts `cost`, before it is incurred. Throws a `CheckpointError` where the file has used up all of it. */
  spend(cost: number): void {
    this.#left -= cost;
    if (this.#left >= 0) return;
    throw this.#fail(
      `its pickle needs more than ${
        LIMIT / 2 ** 20
      } MiB for values and copies, which is too much for a checkpoint; ` +
        "if you trust the file, save only its weights with PyTorch: torch.save(model.state_dict(), path)",
    );
  }

  /** Counts what a function may copy of a value that it is given: its texts, bytes, items or pairs. */
  spendCopy(value: unknown): void {
    if (typeof value === "string" || value instanceof Uint8Array) this.spend(value.length);
    else if (Array.isArray(value)) this.spend(value.length * COST.item);
    else if (value instanceof Map) this.spend(value.size * COST.pair);
  }
}
