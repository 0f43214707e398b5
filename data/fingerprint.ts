/** Numbers by which the same data and the same file are known again. */
import { createHash } from "node:crypto";
import { BrokenRowError, type Dataset } from "./dataset.ts";
import { readInParts } from "./read_in_parts.ts";

/** Rows of a dataset that are looked at, spread over it. */
const ROWS = 64;

/** Bytes of a file that are read at a time. */
const CHUNK = 1 << 20;

/** Numbers of rows, `count` at most, spread evenly over all of them. */
export function spreadRows(rowCount: number, count: number): number[] {
  const least = Math.min(count, rowCount);
  return Array.from({ length: least }, (_, i) => Math.floor(i * rowCount / least));
}

/**
 * SHA-256, hexadecimal, of the number of rows and of the labels and images of 64 of them, spread evenly: some changes
 * escape it, but it takes no time on any data.
 */
export async function fingerprintDataset(dataset: Dataset): Promise<string> {
  const { rowCount } = dataset;
  const hash = createHash("sha256").update(`${rowCount}`);
  for await (const rows of readInParts(dataset, spreadRows(rowCount, ROWS))) {
    for (const row of rows) {
      if (row instanceof BrokenRowError) hash.update("broken");
      else {
        const { label, image } = row;
        hash.update(`${label}`).update(image instanceof Uint8Array ? image : image.pixels);
      }
    }
  }
  return hash.digest("hex");
}

/** SHA-256, hexadecimal, of numbers of rows. */
export function fingerprintRows(rows: Uint32Array<ArrayBuffer>): string {
  return createHash("sha256").update(rows).digest("hex");
}

/** SHA-256, hexadecimal, of texts without line feeds, in their order. */
export function fingerprintTexts(texts: readonly string[]): string {
  return createHash("sha256").update(texts.join("\n")).digest("hex");
}

/** SHA-256 of a file, hexadecimal: what `sha256sum` prints. */
export async function fingerprintFile(path: string | URL): Promise<string> {
  using file = await Deno.open(path);
  const hash = createHash("sha256");
  const buffer = new Uint8Array(CHUNK);
  for (let count; (count = await file.read(buffer)) !== null;) hash.update(buffer.subarray(0, count));
  return hash.digest("hex");
}
