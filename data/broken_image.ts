import { UserError } from "../errors.ts";

/** Error of an image that is truncated, damaged or of an unknown format. */
export class BrokenImageError extends UserError {
  /** Name of the error class. */
  override name = "BrokenImageError";
}

/**
 * Returns the error of an image that is not whole.
 *
 * @param what of it is wrong, where that is known
 */
export function brokenImage(what: string): BrokenImageError {
  return new BrokenImageError(`the image is truncated or damaged${what === "" ? "" : ` (${what})`}`);
}

/** Returns the error of a file that ends too early. */
export function cutImage(bytes: Uint8Array): BrokenImageError {
  return brokenImage(`it ends after ${bytes.length} bytes, before the end of the image`);
}
