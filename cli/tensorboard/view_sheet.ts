/** The views of a batch as one picture. */
import sharp from "sharp";
import type { EventImage } from "./event_writer.ts";

const COLUMNS = 8;

/**
 * Puts views side by side, eight in a row.
 *
 * @param pixels RGBA8 [count, size, size, 4]
 */
export async function viewSheet(pixels: Uint8Array, count: number, size: number): Promise<EventImage> {
  const columns = Math.min(COLUMNS, count);
  const rows = Math.ceil(count / columns);
  const [width, height] = [columns * size, rows * size];
  const sheet = new Uint8Array(width * height * 3);
  for (let view = 0; view < count; view++) {
    const [left, top] = [view % columns * size, Math.floor(view / columns) * size];
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const from = ((view * size + y) * size + x) * 4;
        sheet.set(pixels.subarray(from, from + 3), ((top + y) * width + left + x) * 3);
      }
    }
  }
  const png = await sharp(sheet, { raw: { width, height, channels: 3 } }).png().toBuffer();
  return { width, height, png: new Uint8Array(png) };
}
