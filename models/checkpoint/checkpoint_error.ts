import { UserError } from "../../errors.ts";

/** A checkpoint file cannot be used: damaged, of another kind, unsafe, or of another encoder. Names the file. */
export class CheckpointError extends UserError {
  /** Tells people's errors apart in messages and in Workers. */
  override name = "CheckpointError";
  /** Path of the file, as it was given. */
  readonly path: string;

  /**
   * Names the file and the problem.
   *
   * @param path the file
   * @param problem what was expected, what was found, what to do; follows the path and a colon
   */
  constructor(path: string, problem: string, options?: ErrorOptions) {
    super(`${path}: ${problem}`, options);
    this.path = path;
  }
}

/** Makes the error for a problem in the file at hand. Parsers throw what it returns, so that they need no path. */
export type Fail = (problem: string) => CheckpointError;

/**
 * Any value from a file in few words, quoted. What is nested is not unfolded: a few bytes of a pickle can stand for more
 * than memory holds.
 */
export function describe(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value instanceof Map) return `a dict of ${value.size}`;
  return typeof value === "object" && value !== null ? "an object" : quote(String(value));
}

/** Quotes text that came from a file: escaped and cut, so that it can neither hide nor flood a message. */
export function quote(text: string, longest = 80): string {
  const cut = text.length <= longest ? text : `${text.slice(0, longest)}...`;
  return JSON.stringify(cut).replace(
    /[^\x20-\x7e]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
