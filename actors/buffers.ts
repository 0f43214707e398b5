/** The buffers that a batch travels with. */
import type { BatchBuffers, DecodedBatch } from "./messages.ts";

/** What goes back to the reader when a batch has been used. */
export function buffersOf({ pictures, views, embeddings, small }: DecodedBatch): BatchBuffers {
  return { pictures: pictures.table.buffer, views, embeddings, ...small && { small } };
}
