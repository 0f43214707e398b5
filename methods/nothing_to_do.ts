import { UserError } from "../errors.ts";

/** The run that was to be gone on with has come to its end. */
export class NothingToDoError extends UserError {
  /** What a program tells the kind of error by. */
  override name = "NothingToDoError";
}
