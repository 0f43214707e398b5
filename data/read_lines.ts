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
