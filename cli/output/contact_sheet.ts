/** Images and the images that are most like them, as one image. */
import type { Neighbours } from "../../methods/embedding.ts";
import { BrokenRowError, type Dataset } from "../../data/dataset.ts";
import { decodeImage, type DecodeOptions } from "../../data/decode.ts";
import { loadSharp } from "../../data/sharp.ts";
import { Canvas, type Colour } from "./canvas.ts";

/** Side of an image on the sheet, of the frame around it, and of the gap behind a query, in pixels. */
const SIZE = 96;
const FRAME = 3;
const GAP = 12;
const TILE = SIZE + 2 * FRAME;

const WHITE: Colour = [255, 255, 255];
/** Frames of neighbours of the query's class, and of others: seen apart by the colour-blind too. */
const SAME: Colour = [0, 114, 178];
const OTHER: Colour = [213, 94, 0];

/**
 * A row for each query: the image, a gap, its neighbours. Where there are labels, neighbours of the same class have a
 * blue frame and others an orange one.
 *
 * @param options of decoding: what was embedded is shown
 * @returns a PNG file
 */
export async function contactSheet(
  dataset: Dataset,
  found: readonly Neighbours[],
  options: DecodeOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const columns = Math.max(...found.map(({ rows }) => rows.length));
  const sheet = new Canvas(TILE + GAP + columns * TILE, found.length * TILE, WHITE);
  for (const [line, { query, rows }] of found.entries()) {
    const images = await dataset.readRows([query, ...rows]);
    const [asked] = images;
    for (const [column, row] of images.entries()) {
      if (row instanceof BrokenRowError || asked instanceof BrokenRowError) continue;
      const left = column === 0 ? 0 : column * TILE + GAP;
      const isLabelled = column > 0 && row.label >= 0 && asked.label >= 0;
      const colour = !isLabelled ? WHITE : row.label === asked.label ? SAME : OTHER;
      sheet.fill(left, line * TILE, TILE, TILE, colour);
      sheet.paste(await thumbnail(row.image, options), SIZE, left + FRAME, line * TILE + FRAME);
    }
  }
  return await sheet.toPng();
}

/** RGBA8 [96, 96, 4]: the whole image, on white where it is not square; small ones keep their pixels' edges. */
async function thumbnail(
  image: Parameters<typeof decodeImage>[0] | Awaited<ReturnType<typeof decodeImage>>,
  options: DecodeOptions,
) {
  const { width, height, pixels } = image instanceof Uint8Array ? await decodeImage(image, options) : image;
  const isLocal = Math.max(width, height) < SIZE;
  const sharp = await loadSharp();
  return await sharp(pixels, { raw: { width, height, channels: 4 } })
    .resize(SIZE, SIZE, { fit: "contain", background: "white", kernel: isLocal ? "nearest" : "lanczos3" })
    .raw().toBuffer();
}
