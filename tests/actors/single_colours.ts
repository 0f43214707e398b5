/** Batches for an actor that a test drives alone. */
import { type KeyedBatch, packImages, type Purpose } from "../../mod.ts";
import { initializeQueue } from "../../models/initialize.ts";

/** A batch as it arrives behind the teacher: images of one colour each. */
export function batchOf(batch: number, count: number, purpose: Purpose, size: number): KeyedBatch {
  const images = Array.from({ length: count }, (_, i) => ({
    width: 1,
    height: 1,
    pixels: new Uint8Array(4),
    row: i,
    label: i % 2,
  }));
  const views = Uint8Array.from({ length: count * size * size * 4 }, (_, i) => {
    const image = Math.floor(i / (4 * size * size));
    return image % 2 === 0 ? 40 + image + i % 3 : 200 - image - i % 5;
  });
  return {
    position: { epoch: 0, batch, endsEpoch: false },
    origin: "reader",
    purpose,
    images: packImages(images),
    views: views.buffer,
    embeddings: initializeQueue(count, 128, batch).buffer,
    queuePointer: batch * count,
  };
}
