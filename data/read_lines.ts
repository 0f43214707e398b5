/** Reads text files that may be longer than a string can be. */

const NEWLINE = 10;

/** Bytes that are read at once. */
const READ_AT_ONCE = 2 ** 20;

/**
 * Returns the lines of a text file one after the other, each with the newline that ends it; one without it at the end is
 * what a crash left half written.
 *
 * @param readAtOnce bytes that are read at once
 */
export function* readLinesSync(path: string, readAtOnce = READ_AT_ONCE): Generator<string> {
  using file = Deno.openSync(path);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const buffer = new Uint8Array(readAtOnce);
  let begun = "";
  for (let count = file.readSync(buffer); count !== null; count = file.readSync(buffer)) {
    const bytes = buffer.subarray(0, count);
    let from = 0;
    for (let to = bytes.indexOf(NEWLINE) + 1; to > 0; to = bytes.indexOf(NEWLINE, from) + 1) {
      yield begun + decoder.decode(bytes.subarray(from, to));
      begun = "";
      from = to;
    }
    begun += decoder.decode(bytes.subarray(from), { stream: true });
  }
  begun += decoder.decode();
  if (begun !== "") yield begun;
}

/**
 * Returns the last whole lines of a text file, the newest first, without reading more of it than they take.
 *
 * @param most bytes of the file that are read
 */
export function readLastLinesSync(path: string, most = 2 ** 16): string[] {
  using file = Deno.openSync(path);
  const { size } = file.statSync();
  const bytes = new Uint8Array(Math.min(size, most));
  file.seekSync(size - bytes.length, Deno.SeekMode.Start);
  let filled = 0;
  while (filled < bytes.length) {
    const count = file.readSync(bytes.subarray(filled));
    if (count === null) break;
    filled += count;
  }
  const from = bytes.length === size ? 0 : bytes.indexOf(NEWLINE) + 1; // behind the line that is cut off
  const lines = new TextDecoder().decode(bytes.subarray(from, filled)).split("\n");
  return lines.slice(0, -1).reverse(); // behind the last newline is what a crash left half written
}
