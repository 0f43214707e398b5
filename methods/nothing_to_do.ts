import { UserError } from "../errors.ts";

/** Error of a resume when the run is already complete. */
export class NothingToDoError extends UserError {
  /** Name of the error class. */
  override name = "NothingToDoError";
}
