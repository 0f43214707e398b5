/** What a TSV file can be made of: rows that come one after the other. */
import { BrokenRowError, type Dataset, type DatasetRow } from "../dataset.ts";
import type { Image } from "../decode.ts";
import { readInParts } from "../read_in_parts.ts";
import { loadSharp } from "../sharp.ts";

/** A row for a TSV file. */
export interface SourceRow {
  /** Any name. */
  key: string;
  /** An int32; -1 where there is none. */
  label: number;
  /** Bytes of an image's file. */
  image: Uint8Array;
  /** Size of the image in pixels, where it has been decoded. */
  size?: Pick<Image, "width" | "height">;
  /** An error that says where the row is. */
  broken(reason: string): BrokenRowError;
}

/** Rows that come one after the other, once. */
export interface RowSource extends Disposable {
  /** Of the file or folder. */
  readonly path: string;
  /** How many rows there are, broken ones included, where that is known before they are read. */
  readonly rowCount?: number;
  /** Names of the labels, where they are known. */
  readonly classNames?: readonly string[];
  /** Whether there are no labels. */
  readonly isUnlabelled?: boolean;
  /** The data itself, where its rows can be reached in any order. */
  readonly dataset?: Dataset;
  /** The rows, or what is wrong with one. */
  rows(): AsyncGenerator<SourceRow | BrokenRowError>;
}

/** Data as a source. */
export function sourceOf(dataset: Dataset): RowSource {
  return {
    path: dataset.path,
    rowCount: dataset.rowCount,
    classNames: dataset.classNames,
    isUnlabelled: !dataset.hasLabels,
    dataset,
    rows: () => rowsOf(dataset, Array.from({ length: dataset.rowCount }, (_, row) => row)),
    [Symbol.dispose]: () => dataset.close(),
  };
}

/** Rows of data in a given order. */
export async function* rowsOf(
  dataset: Dataset,
  order: ArrayLike<number>,
): AsyncGenerator<SourceRow | BrokenRowError> {
  for await (const rows of readInParts(dataset, order)) {
    yield* await Promise.all(rows.map(async (row) => {
      if (row instanceof BrokenRowError) return row;
      const broken = (reason: string) => dataset.brokenRow(row.row, reason);
      return { key: row.key, label: row.label, image: await encode(row.image), broken };
    }));
  }
}

async function encode(image: DatasetRow["image"]): Promise<Uint8Array> {
  return image instanceof Uint8Array ? image : await encodePng(image);
}

/** An image as an RGB PNG file, which loses nothing but alpha. */
export async function encodePng({ width, height, pixels }: Image): Promise<Uint8Array> {
  const sharp = await loadSharp();
  return await sharp(pixels, { raw: { width, height, channels: 4 } }).removeAlpha().png().toBuffer();
}
