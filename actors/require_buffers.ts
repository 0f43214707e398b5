/** A batch has the buffers that its way needs, if its reader made them; one that stands in the place of the built-in one may not have. */
import { UserError } from "../errors.ts";
import type { BatchBuffers, Travelling } from "./messages.ts";

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
