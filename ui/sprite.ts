/** Views as one small image that a page can show. */
import { loadSharp } from "../data/sharp.ts";
import type { ViewSample } from "../actors/messages.ts";
import type { Sprite } from "./records.ts";

const QUALITY = 80;

/**
 * Puts views into one image, row by row.
 *
 * @param side of a view in it, in pixels; smaller views stay as they are
 */
export async function makeSprite(
  { pixels, count, size }: ViewSample,
  { side, columns }: { side: number; columns: number },
): Promise<Sprite> {
  const width = Math.min(columns, count);
  const height = Math.ceil(count / width);
  const sheet = new Uint8Array(width * height * size * size * 4);
  const rowBytes = size * 4;
  for (let i = 0; i < count; i++) {
    const [left, top] = [(i % width) * size, Math.floor(i / width) * size];
    for (let y = 0; y < size; y++) {
      const from = (i * size + y) * rowBytes;
      sheet.set(pixels.subarray(from, from + rowBytes), ((top + y) * width * size + left) * 4);
    }
  }
  const shown = Math.min(side, size);
  const sharp = await loadSharp();
  const image = sharp(sheet, { raw: { width: width * size, height: height * size, channels: 4 } })
    .removeAlpha()
    .resize(width * shown, height * shown)
    .webp({ quality: QUALITY });
  const bytes = new Uint8Array(await image.toBuffer());
  return { url: `data:image/webp;base64,${bytes.toBase64()}`, count, columns: width };
}
