/**
 * Error of something outside the program: a flag, a file, a checkpoint, the machine. The message says what was
 * expected, what was found, where, and what to do. It is shown alone, without a stack trace.
 */
export class UserError extends Error {
  /** Name of the error class, kept when the error is sent between Workers. */
  override name = "UserError";
}
