import { UserError } from "../errors.ts";

/** The bytes are not a whole image of a known format. */
export class BrokenImageError extends UserError {
  /** What a program tells the kind of error by. */
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
