/** The views of a batch as one image. */
import { Canvas } from "../canvas.ts";
import type { EventImage } from "./event_writer.ts";

const COLUMNS = 8;

/**
 * Puts views side by side, eight in a row.
 *
 * @param pixels RGBA8 [count, size, size, 4]
 */
export async function viewSheet(pixels: Uint8Array, count: number, size: number): Promise<EventImage> {
  const columns = Math.min(COLUMNS, count);
  const sheet = new Canvas(columns * size, Math.ceil(count / columns) * size);
  for (let view = 0; view < count; view++) {
    const own = pixels.subarray(view * size * size * 4, (view + 1) * size * size * 4);
    sheet.paste(own, size, view % columns * size, Math.floor(view / columns) * size);
  }
  return { width: sheet.width, height: sheet.height, png: await sheet.toPng() };
}
