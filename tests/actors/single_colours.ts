/** Batches for an actor that a test drives alone. */
import { type KeyedBatch, packPictures, type Purpose } from "../../mod.ts";
import { initializeQueue } from "../../models/initialize.ts";

/** A batch as it arrives behind the teacher: pictures of one colour each. */
export function batchOf(batch: number, count: number, purpose: Purpose, size: number): KeyedBatch {
  const pictures = Array.from({ length: count }, (_, i) => ({
    width: 1,
    height: 1,
    pixels: new Uint8Array(4),
    row: i,
    label: i % 2,
  }));
  const views = Uint8Array.from({ length: count * size * size * 4 }, (_, i) => {
    const picture = Math.floor(i / (4 * size * size));
    return picture % 2 === 0 ? 40 + picture + i % 3 : 200 - picture - i % 5;
  });
  return {
    position: { epoch: 0, batch, endsEpoch: false },
    origin: "reader",
    purpose,
    pictures: packPictures(pictures),
    views: views.buffer,
    embeddings: initializeQueue(count, 128, batch).buffer,
    queuePointer: batch * count,
  };
}
