/**
 * Something outside the program is wrong: a flag, a file, a checkpoint, the machine. The message says what was
 * expected, what was found, where, and what to do; a person sees the message alone, never a stack trace.
 */
export class UserError extends Error {
  /** Kept when the error crosses a Worker's wall. */
  override name = "UserError";
}
