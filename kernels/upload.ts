/** What goes from the host to the device. */

/** Bytes that go at a time. */
const PIECE_BYTES = 4 * 2 ** 20;

/**
 * Writes to a buffer, before what is submitted next. What is large goes in pieces, each submitted by itself: so a piece goes through
 * memory that the one before has touched, where the memory of a large one is new each time (bench/NOTES.md).
 *
 * @param offset in bytes, a multiple of 4, as the length of the data
 */
export function upload(
  queue: GPUQueue,
  buffer: GPUBuffer,
  offset: number,
  data: ArrayBufferView<ArrayBuffer> | ArrayBuffer,
): void {
  if (data.byteLength <= PIECE_BYTES) return queue.writeBuffer(buffer, offset, data);
  const bytes = ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    queue.writeBuffer(buffer, offset + at, bytes.subarray(at, at + PIECE_BYTES));
    queue.submit([]);
  }
}
