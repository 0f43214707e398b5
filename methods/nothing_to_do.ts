import { UserError } from "../errors.ts";

/** Error of a resume when the run is already complete. */
export class NothingToDoError extends UserError {
  /** Name of the error class. */
  override name = "NothingToDoError";

  /**
   * Names the checkpoint and the flag to change.
   *
   * @param resume path of the checkpoint; `null` for a new run that starts after its last epoch
   * @param done epochs that it has
   * @param epochs epochs of the whole run
   */
  constructor(resume: string | null, done: number, epochs: number) {
    super(
      `${
        resume === null ? "" : `${resume}: `
      }${done} of ${epochs} epochs are done, so there is nothing left to do; use a larger --epochs`,
    );
  }
}
