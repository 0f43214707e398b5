/** The way back of a batch's buffers to the reader that they came from. */
import type { BatchBuffers, DecodedBatch, TsvReader } from "./messages.ts";
import type { ActorRef } from "./runtime/mod.ts";

function buffersOf({ images, views, teacherViews, embeddings, maps, local }: DecodedBatch): BatchBuffers {
  return {
    images: images.table.buffer,
    views,
    ...teacherViews && { teacherViews },
    embeddings,
    ...maps && { maps },
    ...local && { local },
  };
}

/** The readers of a pipeline, by name: a sink gives buffers back by it. */
export class Origins {
  #readers = new Map<string, ActorRef<TsvReader>>();

  /** Takes their references, once more after a restart. */
  connect(readers: readonly ActorRef<TsvReader>[]): void {
    this.#readers = new Map(readers.map((reader) => [reader.name, reader]));
  }

  /** Gives a batch's buffers back. A reader that crashed needs none: it makes its own when it is started again. */
  async giveBack(batch: DecodedBatch): Promise<void> {
    await this.#readers.get(batch.origin)?.tell("recycle", buffersOf(batch)).catch(() => {});
  }
}
