/** A batch has the buffers that its way needs, and the images, if its reader made it so; one that stands in the place of the built-in one may not have. */
import { UserError } from "../errors.ts";
import type { BatchBuffers, DecodedBatch, Travelling } from "./messages.ts";

/** Buffers that not every run has. */
type OptionalBuffer = "teacherViews" | "maps" | "local";

/**
 * Fails where a batch lacks a buffer.
 *
 * @param needed whether each is needed
 * @throws {UserError} names the buffer and the reader
 */
export function requireBuffers(
  batch: Pick<Travelling, "origin"> & Pick<BatchBuffers, OptionalBuffer>,
  needed: Partial<Record<OptionalBuffer, boolean>>,
): void {
  for (const [name, isNeeded] of Object.entries(needed) as [OptionalBuffer, boolean][]) {
    if (!isNeeded || batch[name] !== undefined) continue;
    throw new UserError(
      `${batch.origin}: expected a batch with the buffer "${name}", which the settings of this run need, found none; ` +
        "a reader of one's own gets all its buffers from makeBuffers(), by its configuration",
    );
  }
}

/**
 * Fails where a batch that must be full is not: the rows that are left would be those of another batch.
 *
 * @throws {UserError} names the reader
 */
export function requireFull(
  { origin, position: { epoch, batch }, images: { count } }: Pick<
    DecodedBatch,
    "origin" | "position" | "images"
  >,
  batchSize: number,
): void {
  if (count === batchSize) return;
  throw new UserError(
    `${origin}: expected ${batchSize} images in batch ${batch} of epoch ${epoch}, found ${count}; batches of training must be full`,
  );
}
