/** Files of embeddings: NumPy's `.npy` with the names beside it, `.csv` and `.jsonl`. */
import type { EmbeddedRows } from "../../methods/embedding.ts";
import { writeAll } from "../../data/replace_file.ts";
import { formatField } from "../../ui/page/csv.ts";

/** The kinds, by what their names end in. */
export const EMBEDDING_FORMATS = [".npy", ".csv", ".jsonl"] as const;

/** One of the kinds. */
export type EmbeddingFormat = typeof EMBEDDING_FORMATS[number];

/** A file that is being written. */
export interface EmbeddingWriter {
  /** Writes rows behind those before. */
  add(rows: EmbeddedRows): void;
  /** Nothing comes after. */
  finish(): void;
}

/** The file that has the row, label and name of each row of a `.npy` file. */
export function namesPath(path: string): string {
  return path.replace(/\.npy$/, ".names.csv");
}

const encoder = new TextEncoder();

/** As short as it can be without another float32 being meant. */
function writeNumber(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(9))) : "null";
}

function featuresOf({ rows, embeddings }: EmbeddedRows, i: number): Float32Array {
  const dimension = embeddings.length / rows.length;
  return embeddings.subarray(i * dimension, (i + 1) * dimension);
}

/** Lines of text, one for each row. */
function lineWriter(
  file: Deno.FsFile,
  heading: string,
  line: (rows: EmbeddedRows, i: number) => string,
): EmbeddingWriter {
  writeAll(file, encoder.encode(heading));
  return {
    add: (rows) => writeAll(file, encoder.encode(rows.rows.map((_, i) => line(rows, i) + "\n").join(""))),
    finish() {},
  };
}

/** `row,name,label`: what belongs to each row of a `.npy` file. */
export function openNamesWriter(file: Deno.FsFile): EmbeddingWriter {
  return lineWriter(
    file,
    "row,name,label\n",
    ({ rows, names, labels }, i) => `${rows[i]},${formatField(names[i])},${labels[i]}`,
  );
}

/**
 * Begins a file.
 *
 * @param file empty and open for writing
 * @param dimension length of an embedding
 */
export function openEmbeddingWriter(
  file: Deno.FsFile,
  format: EmbeddingFormat,
  dimension: number,
): EmbeddingWriter {
  if (format === ".npy") return npyWriter(file, dimension);
  if (format === ".csv") {
    const columns = Array.from({ length: dimension }, (_, i) => i);
    return lineWriter(
      file,
      `row,name,label,${columns.join(",")}\n`,
      (rows, i) =>
        `${rows.rows[i]},${formatField(rows.names[i])},${rows.labels[i]},${
          Array.from(featuresOf(rows, i), writeNumber).join(",")
        }`,
    );
  }
  return lineWriter(
    file,
    "",
    (rows, i) =>
      `{"row":${rows.rows[i]},"name":${JSON.stringify(rows.names[i])},"label":${
        rows.labels[i]
      },"embedding":[${Array.from(featuresOf(rows, i), writeNumber).join(",")}]}`,
  );
}

/** Bytes of a header; enough for any shape, and a multiple of 64. */
const NPY_HEADER = 128;

/** Version 1.0: a header of which the number of rows is known at the end, then little-endian float32, row by row. */
function npyWriter(file: Deno.FsFile, dimension: number): EmbeddingWriter {
  let count = 0;
  const writeHeader = () => {
    const description = `{'descr': '<f4', 'fortran_order': False, 'shape': (${count}, ${dimension}), }`;
    const header = encoder.encode(`\x93NUMPY\x01\x00..${description.padEnd(NPY_HEADER - 11)}\n`);
    // The encoder makes two bytes of the first character, which is one in the file.
    const bytes = Uint8Array.of(0x93, ...header.subarray(2));
    new DataView(bytes.buffer).setUint16(8, NPY_HEADER - 10, true);
    writeAll(file, bytes);
  };
  writeHeader();
  return {
    add({ rows, embeddings }) {
      count += rows.length;
      writeAll(file, new Uint8Array(embeddings.buffer, embeddings.byteOffset, embeddings.byteLength));
    },
    finish() {
      file.seekSync(0, Deno.SeekMode.Start);
      writeHeader();
    },
  };
}
